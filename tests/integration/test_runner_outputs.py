"""golf/pipeline/runner.py: what an earlier run left is removed first, and a run's own files make no commit dirty"""

import subprocess

import pytest

from golf.pipeline import runner
from tests.helpers.stage_processes import run_stage_process, write_stub_stage


def test_outs_are_removed_before_anything_else_and_what_a_link_leads_to_stays(tmp_path, monkeypatch):
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


def test_what_a_killed_process_half_wrote_is_swept_before_the_next_one_works(stage_dir):
    half = stage_dir / "artifacts/compress/.model.golf.x1.partial"
    half.parent.mkdir(parents=True)
    half.touch()
    other = stage_dir / "artifacts/quantize/.codes.safetensors.x1.partial"
    other.parent.mkdir()
    other.touch()
    write_stub_stage(stage_dir, "compress", "pass")
    assert run_stage_process(stage_dir, "compress")[0] == 0
    assert not half.exists()
    assert other.exists(), "quantize may be at work"


def test_a_rank_that_does_not_write_removes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    (tmp_path / "verdict.json").write_text("of rank 0")
    with pytest.raises(SystemExit):
        runner.run_stage("evaluate", lambda: None, stale_outputs=("verdict.json",))
    assert (tmp_path / "verdict.json").exists()


def test_what_a_run_itself_changes_makes_no_commit_dirty_and_all_else_does(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], capture_output=True, check=True)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts" / "evaluate").mkdir(parents=True)
    files = ("artifacts/evaluate/metrics.json", "dvc.lock", "params.yaml", "golf.py")
    for file in files:
        (tmp_path / file).write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    for file in files[:2]:
        (tmp_path / file).write_text("two")
    (tmp_path / files[0]).unlink()
    assert runner.git_revision()["dirty"] is False
    for file in files[2:]:
        (tmp_path / file).write_text("two")
        assert runner.git_revision()["dirty"] is True, file
        (tmp_path / file).write_text("one")
