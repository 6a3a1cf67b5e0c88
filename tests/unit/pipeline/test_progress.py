"""golf/pipeline/progress.py"""

import io
import types

import pytest

from golf.pipeline import progress
from golf.pipeline.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes only when told."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.fixture
def pipe(monkeypatch):
    return stderr(monkeypatch, io.StringIO())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    return stderr(monkeypatch, Terminal())


def stderr(monkeypatch, made):
    """In the place of the module's own, as pytest swaps sys.stderr between a fixture and its test."""
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=made))
    return made


def test_a_line_tells_stage_step_figures_seconds_of_the_limit_and_time_left(pipe, clock):
    line = Progress("train", 400, "step", limit_s=120)
    clock(30)
    line.update(100, loss="3.1204", tok_per_s="14,032")
    assert pipe.getvalue() == "train     100/400 step  loss 3.1204  tok per s 14,032  30 of 120 s  left 1m30s\n"


def test_without_a_total_or_a_limit_none_is_invented(pipe, clock):
    line = Progress("fetch", None, "documents")
    clock(3)
    line.update(1200)
    assert pipe.getvalue() == "fetch     1,200 documents  3 s\n"


def test_the_share_of_the_budget_tells_the_time_left_where_steps_do_not(pipe, clock):
    line = Progress("train", None, "step", limit_s=100)
    clock(25)
    line.update(7, fraction=0.25)
    assert pipe.getvalue() == "train     7 step  25 of 100 s  left 1m15s\n"


def test_a_pipe_gets_whole_lines_and_few_of_them(pipe, clock):
    line = Progress("train", 1000, "step")
    for step in range(100):
        line.update(step)
        clock(0.1)
    line.finish("finished")
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 3
    assert "\r" not in pipe.getvalue()
    assert lines[-1] == "train     finished"


def test_a_forced_line_is_always_shown(pipe, clock):
    line = Progress("train", 10, "step")
    for step in range(4):
        line.update(step, force=True)
    assert len(pipe.getvalue().splitlines()) == 4


def test_a_terminal_gets_one_line_that_is_overwritten(terminal, clock):
    line = Progress("ttt", 10, "chunks")
    for step in range(3):
        clock(1)
        line.update(step, bpb="1.5")
    line.finish("1.4 bpb")
    text = terminal.getvalue()
    assert text.count("\r") == 4
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.rstrip().endswith("1.4 bpb")


def test_a_shorter_line_covers_the_longer_one_before_it(terminal, clock):
    line = Progress("ttt", None, "chunks")
    line.update(1, note="x" * 30)
    clock(1)
    line.update(2)
    first, second = terminal.getvalue().split("\r")[1:]
    assert len(second) == len(first)


def test_a_line_never_wraps_on_a_narrow_terminal(terminal, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    Progress("ttt", None, "chunks").update(1, note="x" * 100)
    assert len(terminal.getvalue().removeprefix("\r")) == 29


def test_ranks_that_are_not_the_first_say_nothing(pipe, clock):
    line = Progress("train", 10, "step", quiet=True)
    line.update(1, force=True)
    line.finish("finished")
    assert pipe.getvalue() == ""


def test_seconds_and_minutes_read_as_people_say_them():
    assert [progress.format_duration(s) for s in (-3, 0, 59.4, 60, 79, 3600)] == [
        "0s",
        "0s",
        "59s",
        "1m00s",
        "1m19s",
        "60m00s",
    ]
