"""One run of the whole pipeline on a tiny corpus, without DVC: its files, its scores, one bad input for each stage."""

import math
import shutil

import numpy as np
import pytest

from golf.artifacts import io
from golf.data import split_reader
from golf.evaluation import ledger
from tests.helpers import tiny_project
from tools import ci

STAGES = tiny_project.STAGES
MODES = ("plain", "sliding", "ttt")
METRICS = {
    "val_bpb",
    "val_bpb_plain",
    "val_bpb_sliding",
    "val_bpb_ttt",
    "val_bpb_clean",
    "val_contamination",
    "val_loss",
    "val_tokens",
    "val_bytes",
    "implied_bytes",
    "payload_bytes",
    "code_bytes",
    "artifact_bytes",
    "limit_bytes",
    "train_seconds",
    "eval_seconds",
    "verdict",
}


def test_pipeline_writes_what_dvc_yaml_declares_and_nothing_else(finished_run):
    stages = ci.load_stages(finished_run)
    declared = [out for stage in stages.values() for out in stage.outs]
    assert [out for out in declared if not (finished_run / out).exists()] == []
    written = [f"artifacts/{path}" for path in tiny_project.list_files(finished_run / "artifacts")]
    undeclared = [path for path in written if not any(ci.is_within(path, out) for out in declared)]
    assert undeclared == [tiny_project.EVALUATION_LOG]
    for name, stage in stages.items():
        assert [out for out in stage.outs if not out.startswith(f"artifacts/{name}/")] == []


def test_metrics_are_complete_and_plausible(finished_run):
    metrics = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    assert metrics.keys() >= METRICS
    assert metrics["val_bpb"] == metrics[f"val_bpb_{metrics['headline']}"]
    for mode in MODES:
        assert 0.5 < metrics[f"val_bpb_{mode}"] < 8
        assert 0 < metrics[f"val_bpb_{mode}_se"] < 0.2
    assert metrics["val_bpb_sliding"] < metrics["val_bpb_plain"]
    assert metrics["artifact_bytes"] == metrics["payload_bytes"] + metrics["code_bytes"] <= metrics["limit_bytes"]
    assert metrics["payload_bytes"] == (finished_run / "artifacts/compress/model.golf").stat().st_size
    assert metrics["code_bytes"] == (finished_run / "artifacts/compress/code.tar.xz").stat().st_size
    assert 0 < metrics["train_seconds"] < 600
    assert 0 < metrics["eval_seconds"] < 600
    assert metrics["verdict"].startswith("valid, not a record run: ")
    assert "limit_bytes 100,000, not 16,000,000" in metrics["verdict"]
    assert metrics["val_contamination"] > 0.01
    assert 0.5 < metrics["val_bpb_clean"] < 8
    assert "of val's bytes occur word for word in train" in metrics["verdict"]
    assert metrics["probe_seconds"] > 0


@pytest.mark.parametrize("mode", MODES)
def test_bpb_follows_from_the_ledger_on_disk(finished_run, mode):
    metrics = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    rows, meta = ledger.read(finished_run / f"artifacts/evaluate/ledgers/{mode}.safetensors")
    bits = math.fsum(rows.nll.astype(np.float64)) / math.log(2)
    assert meta["stream"] == "val"
    assert metrics[f"val_bpb_{mode}"] == pytest.approx(bits / int(rows.bytes.astype(np.int64).sum()), abs=1e-12)
    assert len(rows.nll) == metrics["val_tokens"]
    assert rows.bytes.astype(np.int64).sum() == metrics["val_bytes"]


def test_manifest_counts_what_the_shards_hold_and_metrics_score_all_of_val(finished_run):
    manifest = io.read_json(finished_run / "artifacts/fetch/manifest.json")
    metrics = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    for name, row in manifest["splits"].items():
        folder = finished_run / "artifacts/fetch" / name
        split = split_reader.open_split(folder)
        assert row["documents"] == len(split.documents)
        assert row["tokens"] == split.n_tokens == sum(map(len, split.shards))
        assert row["bytes"] == split.n_bytes
        assert row["sha256"] == io.sha256_file(folder / "index.json")
    assert metrics["implied_bytes"] == pytest.approx(metrics["val_bytes"], rel=1e-12)
    assert metrics["val_bytes"] == manifest["splits"]["val"]["bytes"]
    assert metrics["val_contamination"] == manifest["splits"]["val"]["contamination"]
    assert metrics["val_tokens"] == manifest["splits"]["val"]["tokens"] - 1  # the first BOS is no target


@pytest.mark.parametrize("name", STAGES[1:])
def test_stage_without_an_input_gives_one_message_that_names_it(project_dir, expect_stage_error, name):
    dep = next(dep for dep in ci.load_stages(project_dir)[name].deps if dep.startswith("artifacts/"))
    path = project_dir / dep
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert dep in expect_stage_error(name)


def test_fetch_without_texts_gives_one_message_that_names_the_key(project_dir, expect_stage_error):
    shutil.rmtree(project_dir / "texts")
    assert "fetch.path: " in expect_stage_error("fetch")
