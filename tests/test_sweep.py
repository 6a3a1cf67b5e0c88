"""Sweeps: experiments in DVC's queue, and their way to another machine through Git and a remote."""

import csv
import io
import time

import pytest
import thimble as project
from conftest import ROOT

RATES = (0.002, 0.02)
DONE = {"Success", "Failed"}


@pytest.fixture
def folder(finished_run, tmp_path, monkeypatch):
    """The finished run, committed, with a remote in a folder; its queue's worker ends with the test."""
    monkeypatch.setenv("GOLF_RUNS", str(tmp_path / "runs"))
    place = project.copy(finished_run, tmp_path / "place")
    project.git(place, "init", "--quiet")
    project.dvc(place, "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.dvc(place, "commit", "--force")
    project.git(place, "add", "--all")
    project.git(place, "commit", "--quiet", "--message", "the finished run")
    yield place
    project.ask(place, project.DVC, "queue", "stop", "--kill", code=None)


def queue(place) -> dict[str, str]:
    """Each queued experiment's name and state, as ``dvc queue status`` has them."""
    rows = [line.split() for line in project.dvc(place, "queue", "status").splitlines()]
    return {row[1]: row[-1] for row in rows if row and row[-1] in DONE | {"Queued", "Running"}}


def scores(place) -> dict[float, float]:
    """val_bpb by ttt.lr of all experiments, the commit that they started from aside."""
    rows = list(csv.DictReader(io.StringIO(project.dvc(place, "exp", "show", "--csv"))))
    found = [row for row in rows if row["Experiment"] and row["typ"] != "baseline"]
    return {float(row["ttt.lr"]): float(row["val_bpb"]) for row in found}


@pytest.mark.soak
def test_a_queued_sweep_of_ttts_rate_trains_nothing_again_and_another_clone_gets_its_results(folder, tmp_path):
    rates = ",".join(map(str, RATES))
    project.dvc(folder, "exp", "run", "--queue", "-S", f"ttt.lr={rates}")
    names = list(queue(folder))
    assert len(names) == len(RATES)
    project.dvc(folder, "queue", "start", "--jobs", "1")
    end = time.monotonic() + 300  # a guard against waiting for ever, not a measurement
    while not set(queue(folder).values()) <= DONE:
        assert time.monotonic() < end
        time.sleep(1)
    logs = [project.dvc(folder, "queue", "logs", name) for name in names]
    assert set(queue(folder).values()) == {"Success"}, logs
    for log in logs:
        assert "Running stage 'ttt'" in log
        assert "Running stage 'evaluate'" in log
        assert "Running stage 'train'" not in log
    found = scores(folder)
    assert set(found) == set(RATES)
    assert len(set(found.values())) == len(RATES)
    assert project.git(folder, "status", "--porcelain") == "", "the workspace stays as it was"

    project.git(tmp_path, "init", "--quiet", "--bare", "hub")
    project.git(folder, "remote", "add", "origin", str(tmp_path / "hub"))
    project.git(folder, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    project.dvc(folder, "exp", "push", "origin", *names)
    project.git(tmp_path, "clone", "--quiet", "--branch", "main", str(tmp_path / "hub"), "other")
    listed = project.dvc(tmp_path / "other", "exp", "list", "origin")
    assert all(name in listed for name in names)
    project.dvc(tmp_path / "other", "exp", "pull", "origin", *names)
    assert scores(tmp_path / "other") == found


def test_the_page_on_machines_holds_the_commands_that_are_tested():
    page = (ROOT / "docs/machines.md").read_text(encoding="utf-8")
    for command in (
        "dvc exp run --queue -S 'ttt.lr=0.002,0.02'",
        "dvc queue start --jobs 1",
        "dvc exp show --only-changed",
        "dvc exp push origin",
        "dvc exp pull origin",
        "dvc remote modify store endpointurl",
        "dvc pull --remote store $(python -m golf ci deps)",
        "dvc repro --force --single-item evaluate",
        "for stage in train ttt calibrate evaluate; do python -m stages.$stage || exit; done",
    ):
        assert command in page
