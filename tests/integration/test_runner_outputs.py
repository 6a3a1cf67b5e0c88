"""golf/pipeline/runner.py: files of earlier runs are removed before a stage starts, once its settings are valid"""

from pathlib import Path

import pytest

from golf.errors import GolfError
from golf.pipeline import runner, signals
from tests.helpers import stage_errors
from tests.helpers.programs import stub_stage
from tests.helpers.stage_processes import run_stage_process, write_params, write_stub_stage


@pytest.fixture(autouse=True)
def _signal_handlers():
    with stage_errors.restore_signal_handlers():
        yield


def run_failing_evaluate(*stale_outputs: str) -> None:
    """Run a stage evaluate that fails, if it is reached at all."""

    def fail() -> None:
        raise GolfError("the evaluation failed")

    with pytest.raises(SystemExit) as stopped:
        runner.run_stage("evaluate", fail, model_in_subprocess=True, stale_outputs=stale_outputs)
    assert stopped.value.code == 1


def test_stale_outputs_are_removed_first_but_not_the_target_of_a_link(stage_dir, monkeypatch, capfd):
    monkeypatch.chdir(stage_dir)
    Path("kept").mkdir()
    Path("kept/file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/old").write_text("old")
    Path("verdict.json").write_text("old")
    Path("link").symlink_to("kept")
    run_failing_evaluate("folder", "verdict.json", "link", "never.json")
    assert "evaluate: the evaluation failed" in capfd.readouterr().err
    assert sorted(path.name for path in stage_dir.iterdir()) == ["kept", "params.yaml", "runs"]
    assert Path("kept/file").read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"evaluate.predictor": "golf.inference.predictr:GolfPredictor"},
            "no class of that name in golf/inference/p",
        ),
        ({"evaluate.predictor": "golf.inference.predictor:GolfPredictorr"}, "no class of that name in golf/inference/"),
        ({"evaluate.stride": -1}, "evaluate.stride: must be at least 1"),
    ],
)
def test_outputs_stay_where_the_settings_are_refused(tmp_path, monkeypatch, capfd, settings, message):
    monkeypatch.chdir(write_params(tmp_path, settings))
    Path("verdict.json").write_text("of the last run")
    run_failing_evaluate("verdict.json")
    assert message in capfd.readouterr().err
    assert Path("verdict.json").read_text() == "of the last run"


def test_partial_files_of_a_killed_process_are_removed_before_the_next_run(stage_dir):
    half = stage_dir / "artifacts/compress/.model.golf.x1.partial"
    half.parent.mkdir(parents=True)
    half.touch()
    other = stage_dir / "artifacts/quantize/.codes.safetensors.x1.partial"
    other.parent.mkdir()
    other.touch()
    write_stub_stage(stage_dir, "compress", stub_stage.do_nothing)
    assert run_stage_process(stage_dir, "compress")[0] == 0
    assert not half.exists()
    assert other.exists(), "quantize may be running"


@pytest.mark.parametrize(("rank", "stays"), [("0", False), ("1", True)])
def test_only_the_first_rank_removes_files(stage_dir, monkeypatch, rank, stays):
    monkeypatch.chdir(stage_dir)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(signals, "install_handlers", lambda: None)  # in a rank, its thread outlives this test
    Path("verdict.json").write_text("of rank 0")
    run_failing_evaluate("verdict.json")
    assert Path("verdict.json").exists() == stays
