"""golf/compliance/verdict_builder.py: figures and verdict of a run of the thimble, and of artifacts from elsewhere"""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from golf.artifacts import io, lineage
from golf.cli import results
from golf.compliance import evaluation_log, evaluation_run, verdict
from golf.compliance.context import Origin
from golf.compliance.registry import CHECKS
from golf.compliance.verdict_builder import ValidationData, VerdictBuilder
from golf.compression import reader, writer
from golf.config import loader
from golf.errors import ArtifactError
from tests.helpers import tiny_project
from tools import ci

METRICS, VERDICT = "artifacts/evaluate/metrics.json", "artifacts/evaluate/verdict.json"
FETCH, LOG = "artifacts/fetch", "artifacts/evaluate/executions.jsonl"

CLOCKS = ("train", "calibrate", "quantize")


def checks(folder=".") -> dict[str, dict]:
    return {row["check"]: row for row in io.read_json(f"{folder}/{VERDICT}")["checks"]}


def test_an_honest_run_passes_every_check_but_those_of_machine_and_reading(finished_run):
    found = checks(finished_run)
    assert list(found) == list(CHECKS)
    others = {name: row["status"] for name, row in found.items() if row["status"] != "PASS"}
    assert others == dict.fromkeys(("C1-c", "C1-d", "C2-e", "B-c", "B-d", "B-e"), "NOT-RUN")


def test_what_the_run_says_of_itself_agrees_in_all_its_files(finished_run):
    metrics, tree = io.read_json(finished_run / METRICS), io.read_json(finished_run / VERDICT)
    sizes = io.read_json(finished_run / "artifacts/compress/sizes.json")
    log = evaluation_log.read_entries(finished_run / LOG)
    assert metrics["verdict"] == tree["verdict"] == log[-1]["verdict"]
    assert [line["val_bpb"] for line in log] == [None, metrics["val_bpb"]]
    for key in ("artifact", "method", "plan", "val", "headline", "commit"):
        assert log[0][key] == log[1][key], key
    for key in ("payload_bytes", "code_bytes", "artifact_bytes", "limit_bytes"):
        assert metrics[key] == sizes[key], key
    assert tree["track"] == "B: score-first adaptation"
    clocks = [f"artifacts/{stage}/clock.json" for stage in CLOCKS]
    seconds = [io.read_json(finished_run / clock)["train_seconds"] for clock in clocks]
    assert metrics["train_seconds"] == pytest.approx(sum(seconds), abs=1e-3)
    assert verdict.render_verdict(tree).splitlines()[0].split() == ["check", "measured", "limit"]


def test_an_artifact_without_its_papers_is_judged_as_a_stranger_and_every_table_copes(project_dir):
    shutil.copy("artifacts/compress/model.golf", "theirs.golf")
    before = io.read_json(METRICS)
    tiny_project.set_params(project_dir, {"evaluate.artifact": "theirs.golf", "evaluate.headline": "plain"})
    tiny_project.run_stage_in_process("evaluate")
    found, metrics = checks(), io.read_json(METRICS)

    for name in ("C1-e", "C3-f", "C4-d", "B-c"):
        assert found[name]["status"] == "NOT-RUN", name
    assert [name for name, row in found.items() if row["status"] == "FAIL"] == []
    assert metrics["verdict"].startswith(
        "NOT-RUN: nothing that was looked at fails, but C1-e, C3-f were not: of unknown"
    )
    assert metrics["train_seconds"] is metrics["train_limit_seconds"] is None
    assert metrics["val_bpb"] == metrics["val_bpb_plain"] == pytest.approx(before["val_bpb_plain"], abs=1e-6)
    assert io.read_json(VERDICT)["track"] == "A: fixed predictor"
    assert "NOT-RUN" in next(
        line for line in results.render_table(METRICS).splitlines() if line.startswith("train seconds")
    )
    shutil.copy(METRICS, "again.json")
    assert "figures agree" in ci.compare_metrics(METRICS, "again.json")
    assert "2 executions on this val, 1 of this artifact" in found["C4-c"]["measured"]


def test_a_copied_artifact_whose_header_names_val_is_invalid_without_its_lineage_too(project_dir):
    tensors, header = reader.read("artifacts/compress/model.golf")
    seen = ("train", "dev", "val")
    io.write_bytes(
        "theirs.golf", writer.pack(tensors, header.model, upstream_splits=seen, codec="brotli", brotli_quality=5)
    )
    tiny_project.set_params(
        project_dir, {"evaluate.artifact": "theirs.golf", "evaluate.probe_alternative_tokens": None}
    )
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(VERDICT)["verdict"].startswith("invalid: C1-e, C3-f ")
    for way in ("plain", "sliding", "ttt"):
        meta = io.read_header(f"artifacts/evaluate/ledgers/{way}.safetensors")["meta"]
        assert meta["verdict"] == "invalid: val is upstream of the artifact"


def test_an_execution_that_is_broken_off_is_in_the_log(project_dir, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    before = len(evaluation_log.read_entries(LOG))
    monkeypatch.setattr(evaluation_run, "run_evaluation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_project.run_stage_in_process("evaluate")
    (line,) = evaluation_log.read_entries(LOG)[before:]
    assert (line["val_bpb"], line["verdict"]) == (None, None)


def test_a_verdict_names_the_method_and_the_artifact_that_it_is_of(finished_run):
    tree, log = io.read_json(finished_run / VERDICT), evaluation_log.read_entries(finished_run / LOG)
    assert tree["method"] == "golf.inference.predictor:GolfPredictor"
    artifact = lineage.artifact_sha256(finished_run / "artifacts/compress/model.golf")
    assert tree["artifact"] == log[-1]["artifact"] == artifact
    meta = io.read_header(finished_run / "artifacts/evaluate/ledgers/ttt.safetensors")["meta"]
    assert meta["method"] == tree["method"]


def test_an_evaluation_that_fails_leaves_no_verdict_that_could_be_taken_for_its_own(project_dir):
    before = len(evaluation_log.read_entries(LOG))
    tiny_project.set_params(project_dir, {"evaluate.predictor": "nowhere:Method"})
    done = subprocess.run([sys.executable, "-m", "stages.evaluate"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "evaluate.predictor: nowhere:Method: there is no nowhere.py" in done.stderr
    left = {path.name for path in Path("artifacts/evaluate").iterdir()}
    assert left.isdisjoint({"verdict.json", "metrics.json", "ledgers", "bpb_so_far.csv", "loss_by_position.csv"})
    assert len(evaluation_log.read_entries(LOG)) == before


def test_adaptation_counts_as_training_where_it_is_upstream_of_the_artifact(project_dir):
    clocks = {name: io.read_json(f"artifacts/{name}/clock.json")["train_seconds"] for name in CLOCKS}
    io.write_json("artifacts/ttt/clock.json", {"train_seconds": 1000.0})
    tiny_project.set_params(project_dir, {"evaluate.probe_alternative_tokens": None, "quantize.weights": "ttt"})
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(METRICS)["train_seconds"] == pytest.approx(1000 + sum(clocks.values()), abs=1e-3)


@pytest.mark.parametrize(
    ("method", "stream", "splits", "early"),
    [
        ("prequant", "val", ("train", "val"), 6),
        ("prequant", "val", ("train",), 0),
        ("prequant", "dev", ("train", "dev"), 0),
        ("score_first", "val", ("train", "val"), 0),
    ],
)
def test_epochs_of_prequant_count_where_their_weights_learned_from_val(method, stream, splits, early):
    case = SimpleNamespace(ttt_cfg=SimpleNamespace(method=method, stream=stream), origin=Origin(splits))
    assert VerdictBuilder(None, case, None, None, None, 0, 6).prequant_val_epochs == early


def test_a_plan_that_was_tried_on_val_spoils_the_headline_that_follows_it_and_no_other(project_dir, capsys):
    plan = io.read_json("artifacts/ttt/plan.json")
    origin = lineage.make_lineage("ttt", {"weights": "artifacts/ema/model.safetensors", "stream": f"{FETCH}/val"})
    io.write_json("artifacts/ttt/plan.json", plan | {"lineage": origin, "splits_seen": origin["splits_seen"]})
    tiny_project.set_params(project_dir, {"evaluate.probe_alternative_tokens": None})
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(VERDICT)["verdict"].startswith("invalid: C1-e (C1-e: the plan was tried on val; ")
    said = capsys.readouterr().err
    assert said.count("(invalid: the plan was tried on val)") == 1

    tiny_project.set_params(project_dir, {"evaluate.headline": "sliding"})
    tiny_project.run_stage_in_process("evaluate")
    assert checks()["C1-e"]["status"] == "PASS"
    assert io.read_json(VERDICT)["verdict"].startswith("NOT-RUN: nothing that was looked at fails, but C1-a, ")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ({"splits": {}}, r"manifest\.json: lacks val"),
        ({"splits": {"val": {"tokens": 3}}}, r"manifest\.json: lacks documents, bytes, sha256"),
        (
            {"splits": {"val": {"documents": "3", "tokens": 3, "bytes": 9, "sha256": "x"}}},
            r"manifest\.json: documents: got '3'",
        ),
        ({"comparable_with_fineweb": "no"}, r"manifest\.json: comparable_with_fineweb: got 'no'"),
    ],
)
def test_a_manifest_that_says_something_else_than_it_should_is_named(finished_run, tmp_path, monkeypatch, harm, words):
    monkeypatch.chdir(finished_run)
    manifest = io.read_json(f"{FETCH}/manifest.json")
    io.write_json(tmp_path / "manifest.json", manifest | harm)
    paths = (f"{FETCH}/val", f"{FETCH}/train/index.json", f"{FETCH}/dev/index.json", f"{FETCH}/tokenizer.model")
    with pytest.raises(ArtifactError, match=words):
        ValidationData.open(*paths, tmp_path / "manifest.json", 320)


def test_several_epochs_are_unruled_where_the_headline_follows_the_plan(project_dir):
    plan = io.read_json("artifacts/ttt/plan.json")
    made = dataclasses.replace(loader.load_config().ttt, epochs=3)
    io.write_json("artifacts/ttt/plan.json", plan | {"ttt": dataclasses.asdict(made)})
    tiny_project.set_params(project_dir, {"evaluate.probe_alternative_tokens": None})
    tiny_project.run_stage_in_process("evaluate")
    assert checks()["U-a"]["status"] == "UNRULED"
