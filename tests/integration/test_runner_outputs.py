"""golf/pipeline/runner.py: files of earlier runs are removed before a stage starts"""

import pytest

from golf.pipeline import runner, signals
from tests.helpers.programs import stub_stage
from tests.helpers.stage_processes import run_stage_process, write_stub_stage


def test_stale_outputs_are_removed_first_but_not_the_target_of_a_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")
    (tmp_path / "verdict.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(SystemExit):  # there is no params.yaml here
        runner.run_stage("evaluate", lambda: None, stale_outputs=("folder", "verdict.json", "link", "never.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "runs"]
    assert (tmp_path / "kept" / "file").read_text() == "mine"


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


def test_only_the_first_rank_removes_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(signals, "install_handlers", lambda: None)  # in a rank, its thread outlives this test
    (tmp_path / "verdict.json").write_text("of rank 0")
    with pytest.raises(SystemExit):
        runner.run_stage("evaluate", lambda: None, stale_outputs=("verdict.json",))
    assert (tmp_path / "verdict.json").exists()
