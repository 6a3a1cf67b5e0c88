"""Sweeps: experiments in DVC's queue, and their transfer to another machine through Git and a remote."""

import csv
import io
import time

import pytest

from tests.helpers import tiny_project

RATES = (0.002, 0.02)
DONE = {"Success", "Failed"}


@pytest.fixture
def project_dir(finished_run, tmp_path, monkeypatch):
    """The finished run, committed, with a remote in a folder; its queue's worker is stopped after the test."""
    monkeypatch.setenv("GOLF_RESUME_DIR", str(tmp_path / "runs"))
    folder = tiny_project.copy_project(finished_run, tmp_path / "project")
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "remote", "add", "--default", "store", str(tmp_path / "store"))
    tiny_project.dvc(folder, "commit", "--force")
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "the finished run")
    yield folder
    tiny_project.run_command(folder, tiny_project.DVC_EXECUTABLE, "queue", "stop", "--kill", exit_code=None)


def read_queue(project_dir) -> dict[str, str]:
    """The name and state of each queued experiment, from ``dvc queue status``."""
    rows = [line.split() for line in tiny_project.dvc(project_dir, "queue", "status").splitlines()]
    return {row[1]: row[-1] for row in rows if row and row[-1] in DONE | {"Queued", "Running"}}


def read_scores(project_dir) -> dict[float, float]:
    """val_bpb by ttt.lr of all experiments, without the commit that they started from."""
    rows = list(csv.DictReader(io.StringIO(tiny_project.dvc(project_dir, "exp", "show", "--csv"))))
    experiments = [row for row in rows if row["Experiment"] and row["typ"] != "baseline"]
    return {float(row["ttt.lr"]): float(row["val_bpb"]) for row in experiments}


@pytest.mark.soak
def test_queued_sweep_of_the_ttt_rate_trains_nothing_and_is_shared_with_another_clone(project_dir, tmp_path):
    rates = ",".join(map(str, RATES))
    tiny_project.dvc(project_dir, "exp", "run", "--queue", "-S", f"ttt.lr={rates}")
    names = list(read_queue(project_dir))
    assert len(names) == len(RATES)
    tiny_project.dvc(project_dir, "queue", "start", "--jobs", "1")
    end = time.monotonic() + 300  # ends a test that hangs; measures nothing
    while not set(read_queue(project_dir).values()) <= DONE:
        assert time.monotonic() < end
        time.sleep(1)
    logs = [tiny_project.dvc(project_dir, "queue", "logs", name) for name in names]
    assert set(read_queue(project_dir).values()) == {"Success"}, logs
    for log in logs:
        assert "Running stage 'ttt'" in log
        assert "Running stage 'evaluate'" in log
        assert "Running stage 'train'" not in log
    scores = read_scores(project_dir)
    assert set(scores) == set(RATES)
    assert len(set(scores.values())) == len(RATES)
    assert all(str(rate) in tiny_project.dvc(project_dir, "exp", "show", "--only-changed") for rate in RATES)
    assert tiny_project.git(project_dir, "status", "--porcelain") == "", "the workspace stays as it was"

    tiny_project.git(tmp_path, "init", "--quiet", "--bare", "hub")
    tiny_project.git(project_dir, "remote", "add", "origin", str(tmp_path / "hub"))
    tiny_project.git(project_dir, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    tiny_project.dvc(project_dir, "exp", "push", "origin", *names)
    tiny_project.git(tmp_path, "clone", "--quiet", "--branch", "main", str(tmp_path / "hub"), "other")
    listed = tiny_project.dvc(tmp_path / "other", "exp", "list", "origin")
    assert all(name in listed for name in names)
    tiny_project.dvc(tmp_path / "other", "exp", "pull", "origin", *names)
    assert read_scores(tmp_path / "other") == scores
