"""stages/evaluate.py and golf/compliance/context.py: metrics and verdict of a tiny run, and of external artifacts"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from golf.artifacts import io, json_records, lineage
from golf.cli import results, verification
from golf.compliance import evaluation_log, evaluation_run, verdict
from golf.compliance.catalog import CHECKS
from golf.compliance.context import EvaluationContext, ValidationData
from golf.compliance.provenance import Origin
from golf.compression import reader, writer
from golf.errors import ArtifactError
from tests.helpers import tiny_project
from tools import ci

METRICS, VERDICT = "artifacts/evaluate/metrics.json", "artifacts/evaluate/verdict.json"
FETCH, LOG = "artifacts/fetch", "artifacts/evaluate/evaluation_log.jsonl"
OUTPUTS = {"verdict.json", "metrics.json", "ledgers", "running_bpb.csv", "loss_by_position.csv"}

TIMED_STAGES = ("train", "calibrate", "quantize")


def read_checks(folder=".") -> dict[str, dict]:
    return {row["check"]: row for row in io.read_json(f"{folder}/{VERDICT}")["checks"]}


def test_a_compliant_run_passes_every_check_but_those_of_hardware_and_code_reading(finished_run):
    checks = read_checks(finished_run)
    assert list(checks) == list(CHECKS)
    others = {name: row["status"] for name, row in checks.items() if row["status"] != "PASS"}
    assert others == dict.fromkeys(("C1-c", "C1-d", "C2-e", "B-c", "B-d", "B-e"), "NOT-RUN")


def test_a_runs_files_agree_with_each_other(finished_run):
    metrics, record = io.read_json(finished_run / METRICS), io.read_json(finished_run / VERDICT)
    sizes = io.read_json(finished_run / "artifacts/compress/sizes.json")
    log = evaluation_log.read_entries(finished_run / LOG)
    assert metrics["verdict"] == record["verdict"] == log[-1]["verdict"]
    assert [line["val_bpb"] for line in log] == [None, metrics["val_bpb"]]
    assert [line["verdict_sha256"] for line in log] == [None, io.sha256_file(finished_run / VERDICT)]
    verification.verify_evaluation(finished_run / VERDICT)
    for key in ("artifact", "predictor", "plan", "val", "headline", "commit"):
        assert log[0][key] == log[1][key], key
    for key in ("payload_bytes", "code_bytes", "artifact_bytes", "limit_bytes"):
        assert metrics[key] == sizes[key], key
    assert record["track"] == "B: score-first adaptation"
    timing_paths = [f"artifacts/{stage}/timing.json" for stage in TIMED_STAGES]
    seconds = [io.read_json(finished_run / path)["train_seconds"] for path in timing_paths]
    assert metrics["train_seconds"] == pytest.approx(sum(seconds), abs=1e-3)
    assert verdict.render_verdict(record).splitlines()[0].split() == ["check", "measured", "limit"]


def test_an_artifact_without_lineage_is_evaluated_as_external_and_every_table_copes(project_dir):
    shutil.copy("artifacts/compress/model.golf", "external.golf")
    before = io.read_json(METRICS)
    tiny_project.set_params(project_dir, {"evaluate.artifact": "external.golf", "evaluate.headline": "plain"})
    tiny_project.run_stage_in_process("evaluate")
    checks, metrics = read_checks(), io.read_json(METRICS)

    for name in ("C1-e", "C3-f", "C4-d", "B-c"):
        assert checks[name]["status"] == "NOT-RUN", name
    assert [name for name, row in checks.items() if row["status"] == "FAIL"] == []
    unknown_origin = "C1-e, C3-f could not run: the file has no lineage record"
    assert metrics["verdict"].startswith(f"NOT-RUN: no check failed, but {unknown_origin}")
    assert metrics["train_seconds"] is metrics["train_limit_seconds"] is None
    assert metrics["val_bpb"] == metrics["val_bpb_plain"] == pytest.approx(before["val_bpb_plain"], abs=1e-6)
    assert io.read_json(VERDICT)["track"] == "A: fixed predictor"
    assert "NOT-RUN" in next(
        line for line in results.render_table(METRICS).splitlines() if line.startswith("train seconds")
    )
    shutil.copy(METRICS, "again.json")
    assert "figures agree" in ci.compare_metrics(METRICS, "again.json")
    assert "2 evaluations on this val, 1 of this artifact" in checks["C4-c"]["measured"]


def test_a_copied_artifact_whose_header_names_val_is_invalid_without_its_lineage_too(project_dir):
    tensors, header = reader.read("artifacts/compress/model.golf")
    seen = ("train", "dev", "val")
    io.write_bytes(
        "external.golf", writer.pack(tensors, header.model, upstream_splits=seen, codec="brotli", brotli_quality=5)
    )
    tiny_project.set_params(project_dir, {"evaluate.artifact": "external.golf", "evaluate.proof_places": None})
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(VERDICT)["verdict"].startswith("invalid: C1-e, C3-f ")
    for mode in ("plain", "sliding", "ttt"):
        meta = io.read_header(f"artifacts/evaluate/ledgers/{mode}.safetensors")["meta"]
        assert meta["verdict"] == "invalid: val is upstream of the artifact"


def test_an_interrupted_evaluation_is_in_the_log(project_dir, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = len(evaluation_log.read_entries(LOG))
    monkeypatch.setattr(evaluation_run, "run_evaluation", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny_project.run_stage_in_process("evaluate")
    (line,) = evaluation_log.read_entries(LOG)[before:]
    assert (line["val_bpb"], line["verdict"]) == (None, None)


def test_a_verdict_names_its_predictor_and_artifact(finished_run):
    record, log = io.read_json(finished_run / VERDICT), evaluation_log.read_entries(finished_run / LOG)
    assert record["predictor"] == "golf.inference.predictor:GolfPredictor"
    artifact = lineage.hash_artifact(finished_run / "artifacts/compress/model.golf")
    assert record["artifact_sha256"] == log[-1]["artifact"] == artifact
    meta = io.read_header(finished_run / "artifacts/evaluate/ledgers/ttt.safetensors")["meta"]
    assert meta["predictor"] == record["predictor"]


def test_a_failed_evaluation_leaves_no_outputs_of_an_earlier_one(project_dir):
    before = len(evaluation_log.read_entries(LOG))
    tiny_project.set_params(project_dir, {"evaluate.artifact": "nowhere.golf"})
    completed = tiny_project.run_stage_process("evaluate", project_dir, exit_code=1)
    assert "nowhere.golf: not found" in completed.stdout
    assert {path.name for path in Path("artifacts/evaluate").iterdir()}.isdisjoint(OUTPUTS)
    assert len(evaluation_log.read_entries(LOG)) == before


def test_a_predictor_that_is_not_there_leaves_the_outputs_of_the_earlier_one(project_dir):
    before = len(evaluation_log.read_entries(LOG))
    tiny_project.set_params(project_dir, {"evaluate.predictor": "nowhere:Own"})
    completed = tiny_project.run_stage_process("evaluate", project_dir, exit_code=1)
    assert "evaluate.predictor: nowhere:Own: no class of that name in nowhere.py" in completed.stdout
    assert {path.name for path in Path("artifacts/evaluate").iterdir()} >= OUTPUTS
    assert len(evaluation_log.read_entries(LOG)) == before


def test_adaptation_counts_as_training_where_it_is_upstream_of_the_artifact(project_dir):
    timing_paths = {name: io.read_json(f"artifacts/{name}/timing.json")["train_seconds"] for name in TIMED_STAGES}
    json_records.write_sealed("artifacts/ttt/timing.json", {"train_seconds": 1000.0})
    tiny_project.set_params(project_dir, {"evaluate.proof_places": None, "quantize.weights": "ttt"})
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(METRICS)["train_seconds"] == pytest.approx(1000 + sum(timing_paths.values()), abs=1e-3)


@pytest.mark.parametrize(
    ("method", "stream", "splits", "epochs"),
    [
        ("prequant", "val", ("train", "val"), 6),
        ("prequant", "val", ("train",), 0),
        ("prequant", "dev", ("train", "dev"), 0),
        ("score_first", "val", ("train", "val"), 0),
    ],
)
def test_epochs_of_prequant_count_where_their_weights_learned_from_val(method, stream, splits, epochs):
    artifact = SimpleNamespace(ttt_cfg=SimpleNamespace(method=method, stream=stream), origin=Origin(splits))
    assert EvaluationContext(None, artifact, None, None, None, None, 0, 6, None, "", "").prequant_val_epochs == epochs


def test_a_plan_that_was_tried_on_val_invalidates_only_a_headline_that_follows_it(project_dir, capsys):
    plan = io.read_json("artifacts/ttt/plan.json")
    inputs = {"weights": "artifacts/ema/model.safetensors", "stream": f"{FETCH}/val"}
    origin = lineage.make_lineage("ttt", inputs, plan["ttt"], plan["memory"])
    io.write_json("artifacts/ttt/plan.json", plan | {"lineage": origin, "splits_seen": origin["splits_seen"]})
    tiny_project.set_params(project_dir, {"evaluate.proof_places": None})
    tiny_project.run_stage_in_process("evaluate")
    assert io.read_json(VERDICT)["verdict"].startswith("invalid: C1-e (C1-e: the plan was tried on val; ")
    output = capsys.readouterr().err
    assert output.count("(invalid: the plan was tried on val)") == 1

    tiny_project.set_params(project_dir, {"evaluate.headline": "sliding"})
    tiny_project.run_stage_in_process("evaluate")
    assert read_checks()["C1-e"]["status"] == "PASS"
    assert io.read_json(VERDICT)["verdict"].startswith("NOT-RUN: no check failed, but C1-a, ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"splits": {}}, r"manifest\.json: lacks splits\.val"),
        (
            {"splits": {"val": {"tokens": 3}}},
            r"manifest\.json: lacks splits\.val\.documents, splits\.val\.bytes, splits\.val\.sha256",
        ),
        (
            {"splits": {"val": {"documents": "3", "tokens": 3, "bytes": 9, "sha256": "x"}}},
            r"manifest\.json: splits\.val\.documents: must be a whole number, got '3'",
        ),
        (
            {"comparable_with_fineweb": "no"},
            r"manifest\.json: comparable_with_fineweb: must be true or false, got 'no'",
        ),
    ],
)
def test_a_malformed_manifest_is_named(finished_run, tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(finished_run)
    manifest = io.read_json(f"{FETCH}/manifest.json")
    json_records.write_sealed(tmp_path / "manifest.json", manifest | changes)
    paths = (f"{FETCH}/val", f"{FETCH}/train/index.json", f"{FETCH}/dev/index.json", f"{FETCH}/tokenizer.model")
    with pytest.raises(ArtifactError, match=words):
        ValidationData.open(*paths, tmp_path / "manifest.json", 320)


def test_a_plan_edited_by_hand_is_refused_with_the_keys_file_and_the_cure(project_dir, expect_stage_error):
    plan = io.read_json("artifacts/ttt/plan.json")
    io.write_json("artifacts/ttt/plan.json", plan | {"ttt": plan["ttt"] | {"lr": 0.05}})
    message = expect_stage_error("evaluate")
    assert "artifacts/ttt/plan.json: ttt and memory are not the parameters" in message
    assert "set ttt and memory in params.yaml and run: dvc repro ttt" in message


def test_several_epochs_are_unruled_where_the_headline_follows_the_plan(project_dir):
    plan = io.read_json("artifacts/ttt/plan.json")
    ttt = plan["ttt"] | {"epochs": 3}
    parameters = {"parameters": lineage.hash_parameters(ttt, plan["memory"])}
    origin = lineage.with_digest(plan["lineage"] | parameters)
    io.write_json("artifacts/ttt/plan.json", plan | {"ttt": ttt, "lineage": origin})
    tiny_project.set_params(project_dir, {"evaluate.proof_places": None})
    tiny_project.run_stage_in_process("evaluate")
    assert read_checks()["U-a"]["status"] == "UNRULED"
