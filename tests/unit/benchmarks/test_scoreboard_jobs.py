"""benchmarks/scoreboard_jobs.py: a job runs once, resumes after a kill, and says why it did not run"""

import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from tests.helpers.programs import scoreboard_phase
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import scoreboard_jobs
from scoreboard_jobs import Job, RowCache, UnavailableRowError


class ToyCoder:
    title = "toy"

    def __init__(self, inputs: dict | None):
        self.inputs = inputs

    def describe_inputs(self, job):
        if self.inputs is None:
            raise UnavailableRowError("toylib is not installed; pip install toylib")
        return self.inputs


class Board:
    """Runs one job; what its processes did is in the file calls."""

    def __init__(self, work: Path):
        self.work, self.job, self.cache = work, Job("toy", 100), RowCache(work / "rows.jsonl")
        self.command = [sys.executable, scoreboard_phase.__file__]
        self.fail("")

    def fail(self, phase: str) -> None:
        (self.work / "failing").write_text(phase, encoding="utf-8")

    def run(self, inputs: dict | None, run_id: str = "first") -> list[dict]:
        coder = ToyCoder(inputs)
        return scoreboard_jobs.run_job(self.job, coder, self.cache, self.work, self.command, run_id)

    def calls(self) -> list[str]:
        path = self.work / "jobs" / self.job.key / "calls"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def board(tmp_path) -> Board:
    return Board(tmp_path)


def test_a_row_has_the_sums_and_the_peak_of_each_process(board):
    (row,) = board.run({"version": 1})
    assert (row["status"], row["bpb"], row["total_bytes"], row["run"]) == ("ok", 1.9, 100, "first")
    assert (row["build_seconds"], row["score_seconds"]) == (1.5, 0.5)
    assert row["build_peak_bytes"] > 1 << 20
    assert row["score_peak_bytes"] > 1 << 20


def test_a_finished_job_is_read_from_the_cache(board):
    first = board.run({"version": 1})
    assert board.run({"version": 1}, "second") == first
    assert board.calls() == ["build", "score"]


def test_changed_inputs_run_the_job_again(board):
    board.run({"version": 1})
    (row,) = board.run({"version": 2}, "second")
    assert row["run"] == "second"
    assert board.calls() == ["build", "score"] * 2


def test_a_job_that_was_stopped_between_its_phases_keeps_the_first(board):
    board.fail("score")
    (row,) = board.run({"version": 1})
    assert (row["status"], row.get("bpb")) == ("NOT-RUN", None)
    assert "score failed: ppmd: no such order" in row["reason"]
    board.fail("")
    assert board.run({"version": 1}, "second")[0]["status"] == "ok"
    assert board.calls() == ["build", "score", "score"]


def test_a_missing_library_is_the_reason_and_nothing_runs(board):
    (row,) = board.run(None)
    assert (row["status"], row["reason"]) == ("NOT-RUN", "toylib is not installed; pip install toylib")
    assert board.calls() == []


def test_a_torn_last_line_of_the_cache_is_skipped(tmp_path):
    cache = RowCache(tmp_path / "rows.jsonl")
    cache.add("a", [{"bpb": 1}])
    with open(tmp_path / "rows.jsonl", "a", encoding="utf-8") as file:
        file.write('{"digest": "b", "ro')
    assert cache.find("b") is None
    cache.add("b", [{"bpb": 2}])
    assert (cache.find("a"), cache.find("b")) == ([{"bpb": 1}], [{"bpb": 2}])


def test_a_selection_is_made_once_for_the_same_inputs(tmp_path):
    path, made = tmp_path / "selection.json", []

    def select():
        made.append(1)
        return {"order": len(made)}

    results = [scoreboard_jobs.cached_selection(path, {"v": v}, select)["order"] for v in (1, 1, 2)]
    assert results == [1, 1, 2]
    assert io.read_json(path)["result"] == {"order": 2}


def test_keys_tell_jobs_apart():
    jobs = [Job("ppmd-h", None), Job("ppmd-h", 1000), Job("golf", 1000), Job("golf", 1000, 2.5)]
    assert [job.key for job in jobs] == ["ppmd-h@cold", "ppmd-h@1000", "golf@1000", "golf@1000@2.5min"]
