"""The whole pipeline on a thimble of text, as on a machine without DVC; and dvc.yaml against what the stages do."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest

from golf.artifacts import io
from golf.compliance import evaluation_log
from golf.compression import reader
from golf.data import split_reader
from golf.errors import GolfError
from golf.evaluation import ledger
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT
from tools import ci, dvc_deps

STAGES = tiny_project.STAGES
VAL = "artifacts/fetch/val"
LIBRARY_WRITES = ("run.json", "clock.json")  # written by golf.pipeline.runner, so no stage names its own
LOG = "artifacts/evaluate/executions.jsonl"  # goes on over all runs, and DVC would clear an out of its own
METRICS = {  # design.md, section 4
    "val_bpb",
    "val_bpb_plain",
    "val_bpb_sliding",
    "val_bpb_ttt",
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


def test_the_stages_run_in_the_order_of_the_graph():
    stages = ci.load_stages(ROOT)
    assert tuple(stages) == STAGES
    for name, stage in stages.items():
        made = {out for earlier in STAGES[: STAGES.index(name)] for out in stages[earlier].outs}
        for path in stage.deps:
            if path.startswith("artifacts/"):
                assert any(ci.is_within(path, out) for out in made), f"{name} reads {path} before it is made"


def test_the_whole_pipeline_writes_what_dvc_yaml_declares_and_nothing_else(finished_run):
    stages = ci.load_stages(finished_run)
    declared = [out for stage in stages.values() for out in stage.outs]
    assert [out for out in declared if not (finished_run / out).exists()] == []
    written = [f"artifacts/{path}" for path in tiny_project.list_files(finished_run / "artifacts")]
    assert [path for path in written if not any(ci.is_within(path, out) for out in declared)] == [LOG]
    for name, stage in stages.items():
        assert [out for out in stage.outs if not out.startswith(f"artifacts/{name}/")] == []


def test_the_metrics_are_complete_and_sane(finished_run):
    found = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    assert found.keys() >= METRICS
    assert found["val_bpb"] == found[f"val_bpb_{found['headline']}"]
    for way in ("plain", "sliding", "ttt"):
        assert 0.5 < found[f"val_bpb_{way}"] < 8
        assert 0 < found[f"val_bpb_{way}_se"] < 0.2
    assert found["val_bpb_sliding"] < found["val_bpb_plain"]
    assert found["artifact_bytes"] == found["payload_bytes"] + found["code_bytes"] <= found["limit_bytes"]
    assert found["payload_bytes"] == (finished_run / "artifacts/compress/model.golf").stat().st_size
    assert 0 < found["train_seconds"] < 600
    assert 0 < found["eval_seconds"] < 600
    assert found["verdict"].startswith(
        "valid, not a record run: the corpus is no FineWeb export with a known byte count; limit_bytes 100,000, not"
    )
    assert found["probe_seconds"] > 0


@pytest.mark.parametrize("way", ["plain", "sliding", "ttt"])
def test_every_bpb_comes_out_of_its_ledger_on_disk(finished_run, way):
    found = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    rows, about = ledger.read(finished_run / f"artifacts/evaluate/ledgers/{way}.safetensors")
    bits = math.fsum(rows.nll.astype(np.float64)) / math.log(2)
    assert about["stream"] == "val"
    assert found[f"val_bpb_{way}"] == pytest.approx(bits / int(rows.bytes.astype(np.int64).sum()), abs=1e-12)
    assert len(rows.nll) == found["val_tokens"]
    assert rows.bytes.astype(np.int64).sum() == found["val_bytes"]


def test_tokens_loss_and_bpb_imply_the_bytes_of_the_text(finished_run):
    found = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    manifest = io.read_json(finished_run / "artifacts/fetch/manifest.json")
    assert found["implied_bytes"] == pytest.approx(found["val_bytes"], rel=1e-12)
    assert found["val_bytes"] == manifest["splits"]["val"]["bytes"]
    assert found["val_tokens"] == manifest["splits"]["val"]["tokens"] - 1  # the first BOS is no target


def test_the_manifest_counts_what_the_shards_hold(finished_run):
    manifest = io.read_json(finished_run / "artifacts/fetch/manifest.json")
    for name, row in manifest["splits"].items():
        folder = finished_run / "artifacts/fetch" / name
        split = split_reader.open_split(folder)
        assert row["documents"] == len(split.documents)
        assert row["tokens"] == split.tokens == sum(map(len, split.shards))
        assert row["bytes"] == split.bytes
        assert row["sha256"] == io.sha256_file(folder / "index.json")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_the_artifacts_that_dvc_yaml_declares(name):
    tree = ci.read_yaml(ROOT / "dvc.yaml")["stages"][name]
    own = {f"artifacts/{name}/{file}" for file in LIBRARY_WRITES}
    outs = [next(iter(out)) if isinstance(out, dict) else out for out in tree["outs"] + tree.get("metrics", [])]
    declared = {re.sub(r"\$\{[\w.]+\}", "{}", path) for path in tree["deps"] + outs if path.startswith("artifacts/")}
    own_artifact = {"artifacts/compress/model.golf"} if "${evaluate.artifact}" in tree["deps"] else set()
    assert artifact_literals(ROOT / f"stages/{name}.py") - {LOG} == (declared | own_artifact) - own


def artifact_literals(path: Path) -> set[str]:
    """Every string of a file that starts with artifacts/, ``{}`` where an f-string fills something in."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant):
            found.add(node.value)
        if isinstance(node, ast.JoinedStr):
            found.add("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
            found -= {part.value for part in node.values if isinstance(part, ast.Constant)}
    return {text for text in found if isinstance(text, str) and text.startswith("artifacts/") and text[-1] != "/"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_loads_the_parameters_that_dvc_yaml_declares(name):
    tree = ast.parse((ROOT / f"stages/{name}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.load"]
    assert len(calls) == 1
    assert tuple(argument.value for argument in calls[0].args) == ci.load_stages(ROOT)[name].params


def test_every_stage_declares_every_module_it_imports(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert tuple(dvc_deps.parse_declared_deps(dvc_deps.DVC_FILE.read_text(encoding="utf-8"))) == STAGES
    dvc_deps.check_deps()


def test_a_module_that_is_imported_and_not_declared_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_project.create_project(tmp_path / "place"))
    text = dvc_deps.DVC_FILE.read_text(encoding="utf-8")
    dvc_deps.DVC_FILE.write_text(text.replace("      - golf/training/muon.py\n", ""), encoding="utf-8")
    with pytest.raises(GolfError, match=r"train: missing \['golf/train/muon\.py'\]"):
        dvc_deps.check_deps()
    dvc_deps.write_deps()
    assert dvc_deps.DVC_FILE.read_text(encoding="utf-8") == text


def test_no_validation_byte_can_reach_the_artifact():
    stages = ci.load_stages(ROOT)
    assert VAL in ci.collect_upstream(stages, "evaluate")
    for name in STAGES[1:-1]:
        assert VAL not in ci.collect_upstream(stages, name), name
    assert "artifacts/fetch/manifest.json" not in ci.collect_upstream(stages, "compress")


@pytest.mark.parametrize(("weights", "stream", "reached"), [("ttt", "val", True), ("ttt", "dev", False)])
def test_the_graph_shows_when_val_is_upstream_of_the_artifact(tmp_path, weights, stream, reached):
    folder = tiny_project.create_project(tmp_path / "place")
    tiny_project.set_params(folder, {"quantize.weights": weights, "ttt.stream": stream})
    assert (VAL in ci.collect_upstream(ci.load_stages(folder), "compress")) is reached


def test_everything_before_evaluate_runs_without_val_and_gives_the_same_artifact_bit_for_bit(project_dir):
    artifact = project_dir / "artifacts/compress/model.golf"
    before = artifact.read_bytes()
    (project_dir / VAL / "val_000000.bin").unlink()
    (project_dir / VAL / "index.json").unlink()
    (project_dir / VAL).rmdir()
    artifact.unlink()
    for name in STAGES[1:-1]:
        tiny_project.run_stage_in_process(name)
    assert artifact.read_bytes() == before


def test_adapting_on_val_before_quantising_ends_in_a_verdict_that_says_invalid(project_dir):
    tiny_project.set_params(project_dir, {"ttt.stream": "val", "quantize.weights": "ttt"})
    for name in STAGES[3:]:
        tiny_project.run_stage_in_process(name)
    _, header = reader.read("artifacts/compress/model.golf")
    assert "val" in header.upstream_splits
    found = io.read_json("artifacts/evaluate/metrics.json")["verdict"]
    assert found.startswith("invalid: C1-e, C3-f (C3-f: C1 and C3: val text is learned from before it is scored")
    assert "; artifacts/fetch/val -> artifacts/ttt/model.safetensors -> " in found


def test_two_ranks_score_what_one_scores(project_dir):
    ways = ("plain", "sliding", "ttt")
    scored = {way: ledger.read(f"artifacts/evaluate/ledgers/{way}.safetensors")[0] for way in ways}
    before = io.read_json("artifacts/evaluate/metrics.json")
    tiny_project.set_params(project_dir, {"evaluate.ranks": 2})
    assert "2 ranks" in tiny_project.run_stage_process("evaluate", project_dir).stdout
    after = io.read_json("artifacts/evaluate/metrics.json")
    for way, rows in scored.items():
        assert after[f"val_bpb_{way}"] == pytest.approx(before[f"val_bpb_{way}"], abs=1e-6)
        again, _ = ledger.read(f"artifacts/evaluate/ledgers/{way}.safetensors")
        assert np.abs(again.nll - rows.nll).max() < 1e-5
    assert after["verdict"] == before["verdict"]


def test_two_ranks_that_are_over_their_time_stop_with_one_message_of_the_first(project_dir):
    (project_dir / "mine").mkdir()
    (project_dir / "mine" / "slow.py").write_text(
        "import time\n"
        "from golf.inference.predictor import Method\n"
        "class Slow(Method):\n"
        "    def score(self, prefix, chunk, rows=None):\n"
        "        time.sleep(600 if self.here.first else 0)\n"
        "        return super().score(prefix, chunk, rows)\n"
    )
    tiny_project.set_params(
        project_dir, {"evaluate.ranks": 2, "evaluate.limit_s": 15.0, "evaluate.predictor": "mine.slow:Slow"}
    )
    before = len(evaluation_log.read_entries("artifacts/evaluate/executions.jsonl"))
    said = tiny_project.run_stage_process("evaluate", project_dir, exit_code=1).stdout

    assert said.count("dvc checkout evaluate") == 1
    assert "evaluate: evaluate.limit_s: 15 s from the start of the command were over in the call" in said
    assert not (project_dir / "artifacts/evaluate/verdict.json").exists()
    assert len(evaluation_log.read_entries("artifacts/evaluate/executions.jsonl")) == before + 1, (
        "it began, and broke off"
    )
