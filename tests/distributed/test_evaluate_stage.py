"""stages/evaluate.py on two ranks: the scores of one rank, no memo, and one message over the time limit"""

import shutil

import numpy as np
import pytest

from golf.artifacts import io
from golf.compliance import evaluation_log
from golf.evaluation import ledger
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT


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


def test_nothing_that_a_session_leaves_in_the_ranks_store_reaches_the_next(project_dir):
    (project_dir / "mine").mkdir()
    shutil.copy(ROOT / "tests/helpers/memo_predictor.py", project_dir / "mine/memo.py")
    tiny_project.set_params(project_dir, {"evaluate.ranks": 2, "evaluate.predictor": "mine.memo:MemoPredictor"})
    assert "2 ranks" in tiny_project.run_stage_process("evaluate", project_dir).stdout


def test_two_ranks_over_the_time_limit_stop_with_one_message(project_dir):
    (project_dir / "mine").mkdir()
    shutil.copy(ROOT / "tests/helpers/slow_predictor.py", project_dir / "mine/slow.py")
    tiny_project.set_params(
        project_dir, {"evaluate.ranks": 2, "evaluate.limit_s": 10.0, "evaluate.predictor": "mine.slow:SlowPredictor"}
    )
    n_before = len(evaluation_log.read_entries(tiny_project.EVALUATION_LOG))
    output = tiny_project.run_stage_process("evaluate", project_dir, exit_code=1).stdout

    assert output.count("dvc checkout evaluate") == 1
    assert output.count("evaluate.limit_s: ") == 1
    assert not (project_dir / "artifacts/evaluate/verdict.json").exists()
    assert len(evaluation_log.read_entries(tiny_project.EVALUATION_LOG)) == n_before + 1, "it started and was logged"
