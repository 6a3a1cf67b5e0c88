"""Stages over the finished run: what each reads, runs without val, val in the adaptation, and two ranks."""

import shutil

import numpy as np
import pytest

from golf.artifacts import io
from golf.compliance import evaluation_log
from golf.compression import reader
from golf.config import loader
from golf.evaluation import ledger
from tests.helpers import tiny_project
from tools import ci

STAGES = tiny_project.STAGES
VAL = "artifacts/fetch/val"
OVER_TIME_PREDICTOR = """
import time
from golf.inference.predictor import GolfPredictor

class SlowPredictor(GolfPredictor):
    def score(self, prefix, chunk, positions=None):
        time.sleep(600 if self.ctx.is_main else 0)
        return super().score(prefix, chunk, positions)
"""


@pytest.mark.parametrize("name", STAGES)
def test_stage_reads_no_artifact_and_no_params_but_those_it_declares(project_dir, monkeypatch, name):
    stage = ci.load_stages(project_dir)[name]
    for path in tiny_project.list_files(project_dir / "artifacts"):
        if not any(ci.is_within(f"artifacts/{path}", dep) for dep in stage.deps):
            (project_dir / "artifacts" / path).unlink()
    loaded: list[str] = []
    load_sections = loader.load_sections
    monkeypatch.setattr(loader, "load_sections", lambda *keys: loaded.extend(keys) or load_sections(*keys))

    tiny_project.run_stage_in_process(name)

    assert tuple(loaded) == stage.params
    written_by_runner = {f"artifacts/{name}/run.json"}
    assert [out for out in stage.outs if not (project_dir / out).exists() and out not in written_by_runner] == []


def test_stages_before_evaluate_run_without_val_and_give_the_same_artifact(project_dir):
    artifact = project_dir / "artifacts/compress/model.golf"
    expected = artifact.read_bytes()
    shutil.rmtree(project_dir / VAL)
    artifact.unlink()
    for name in STAGES[1:-1]:
        tiny_project.run_stage_in_process(name)
    assert artifact.read_bytes() == expected


def test_adapting_on_val_before_quantization_makes_the_verdict_invalid(project_dir):
    tiny_project.set_params(project_dir, {"ttt.stream": "val", "quantize.weights": "ttt"})
    for name in STAGES[3:]:
        tiny_project.run_stage_in_process(name)
    _, header = reader.read("artifacts/compress/model.golf")
    assert "val" in header.upstream_splits
    summary = io.read_json("artifacts/evaluate/metrics.json")["verdict"]
    assert summary.startswith("invalid: C1-e, C3-f (")
    assert "artifacts/fetch/val -> artifacts/ttt/model.safetensors -> " in summary


@pytest.mark.ranks
def test_two_ranks_score_what_one_rank_scores(project_dir):
    modes = ("plain", "sliding", "ttt")
    rows = {mode: ledger.read(f"artifacts/evaluate/ledgers/{mode}.safetensors")[0] for mode in modes}
    metrics = io.read_json("artifacts/evaluate/metrics.json")
    tiny_project.set_params(project_dir, {"evaluate.ranks": 2})
    assert "2 ranks" in tiny_project.run_stage_process("evaluate", project_dir).stdout
    metrics_of_two = io.read_json("artifacts/evaluate/metrics.json")
    for mode in modes:
        assert metrics_of_two[f"val_bpb_{mode}"] == pytest.approx(metrics[f"val_bpb_{mode}"], abs=1e-6)
        rows_of_two, _ = ledger.read(f"artifacts/evaluate/ledgers/{mode}.safetensors")
        assert np.abs(rows_of_two.nll - rows[mode].nll).max() < 1e-5
    assert metrics_of_two["verdict"] == metrics["verdict"]


@pytest.mark.ranks
def test_two_ranks_over_the_time_limit_stop_with_one_message(project_dir):
    (project_dir / "mine").mkdir()
    (project_dir / "mine/slow.py").write_text(OVER_TIME_PREDICTOR, encoding="utf-8")
    tiny_project.set_params(
        project_dir, {"evaluate.ranks": 2, "evaluate.limit_s": 10.0, "evaluate.predictor": "mine.slow:SlowPredictor"}
    )
    n_before = len(evaluation_log.read_entries(tiny_project.EVALUATION_LOG))
    output = tiny_project.run_stage_process("evaluate", project_dir, exit_code=1).stdout

    assert output.count("dvc checkout evaluate") == 1
    assert output.count("evaluate.limit_s: ") == 1
    assert not (project_dir / "artifacts/evaluate/verdict.json").exists()
    assert len(evaluation_log.read_entries(tiny_project.EVALUATION_LOG)) == n_before + 1, "it started and was logged"
