"""benchmarks/golf_runs.py: golf's rows are those of the stages, run again in another folder"""

import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.errors import GolfError
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from golf_runs import GolfCoder, GolfRun, TextCodecCoder
from scoreboard_data import ScoreboardData
from scoreboard_jobs import Job, UnavailableRowError


@pytest.mark.slow
def test_at_the_run_s_own_size_the_rows_are_its_metrics(finished_run, tmp_path):
    run = GolfRun("default", finished_run)
    coder, job = GolfCoder(ScoreboardData(run.artifacts / "fetch"), [run]), Job("golf", run.cfg.compress.limit_bytes)
    built, scored = coder.build(job, tmp_path), coder.score(job, tmp_path)
    metrics = io.read_json(finished_run / "artifacts/evaluate/metrics.json")
    assert built["model_bytes"] == metrics["payload_bytes"]
    assert {mode: scored[mode]["bpb"] for mode in scored} == {
        mode: pytest.approx(metrics[f"val_bpb_{mode}"]) for mode in ("plain", "sliding", "ttt")
    }
    assert scored["plain"]["clean_bpb"] is None or scored["plain"]["clean_bpb"] > 0
    assert len(scored["ttt"]["document_bits"]) == len(coder_documents(finished_run))


def coder_documents(folder: Path) -> list[dict]:
    return io.read_json(folder / "artifacts/fetch/val/index.json")["documents"]


def test_the_inputs_change_with_the_size_only_through_the_job(finished_run):
    run = GolfRun("default", finished_run)
    coder = GolfCoder(ScoreboardData(run.artifacts / "fetch"), [run])
    assert coder.describe_inputs(Job("golf", 1000)) == coder.describe_inputs(Job("golf", 2000))
    assert coder.describe_inputs(Job("golf", 1000, 1.0))["artifacts"] == {}, "a run of its own trains from scratch"


def test_a_run_without_weights_is_named(project_dir):
    (project_dir / "artifacts/ema/model.safetensors").unlink()
    with pytest.raises(UnavailableRowError, match=r"artifacts/ema/model\.safetensors: not found.*dvc repro"):
        GolfRun("default", project_dir).hash_inputs()


@pytest.mark.slow
def test_the_text_codec_s_rows_are_the_size_of_its_file_both_ways(finished_run, tmp_path):
    run = GolfRun("default", finished_run)
    data = ScoreboardData(run.artifacts / "fetch")
    coder, job = TextCodecCoder(data, run), Job("encode", run.cfg.compress.limit_bytes)
    coder.build(job, tmp_path)
    scored = coder.score(job, tmp_path)
    claimed = io.read_json(finished_run / "artifacts/evaluate/metrics.json")["val_bpb"]
    assert scored["encode"]["bpb"] == scored["decode"]["bpb"] == pytest.approx(claimed, rel=0.1)  # val is tiny
    assert scored["encode"]["seconds"] > 0


def test_an_artifact_over_the_size_has_no_row(finished_run, tmp_path):
    run = GolfRun("default", finished_run)
    coder = TextCodecCoder(ScoreboardData(run.artifacts / "fetch"), run)
    with pytest.raises(GolfError, match=r"over 1,000"):
        coder.build(Job("encode", 1000), tmp_path)
