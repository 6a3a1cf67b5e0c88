import io
import threading
import types

import pytest

from golf.pipeline import progress
from golf.pipeline.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def advance(monkeypatch):
    """Moves the module's clock by a number of seconds; it stands still otherwise."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


@pytest.fixture
def pipe(monkeypatch):
    return replace_stderr(monkeypatch, io.StringIO())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    return replace_stderr(monkeypatch, Terminal())


def replace_stderr(monkeypatch, stream):
    """In the module alone, because pytest replaces sys.stderr between a fixture and its test."""
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream))
    return stream


def test_a_line_shows_stage_step_metrics_seconds_of_the_limit_and_time_left(pipe, advance):
    live = Progress("train", 400, "step", limit_s=120)
    advance(30)
    live.update(100, loss="3.1204", tok_per_s="14,032")
    Progress("fetch", None, "documents").update(1200)
    assert pipe.getvalue() == (
        "train     100/400 step  loss 3.1204  tok per s 14,032  30 of 120 s  left 1m30s\n"
        "fetch     1,200 documents  0 s\n"
    )


def test_time_left_follows_the_given_fraction_and_is_omitted_without_one(pipe, advance):
    live = Progress("train", None, "step", limit_s=100)
    advance(25)
    live.update(7, fraction=0.25)
    Progress("fetch", None, "documents").update(1200)
    with_fraction, without = pipe.getvalue().splitlines()
    assert with_fraction.endswith("left 1m15s")
    assert "left" not in without


def test_seconds_are_those_of_the_clock_that_counts_and_time_left_those_that_pass(pipe, advance):
    counted_s = 7.0
    live = Progress("evaluate", 100, "targets", limit_s=600, clock=lambda: counted_s)
    advance(100)
    counted_s += 20
    live.update(50)
    assert pipe.getvalue().endswith("50/100 targets  27 of 600 s  left 1m40s\n")
    assert live.elapsed_s() == 27


def test_time_left_of_a_continued_run_follows_from_what_this_process_did(pipe, advance):
    live = Progress("train", 100, "steps", clock=lambda: 340.0, fraction_before=0.5)
    advance(30)
    live.update(75)
    assert pipe.getvalue().endswith("75/100 steps  340 s  left 30s\n")


@pytest.mark.parametrize(("completed", "fraction"), [(100, None), (128, None), (100, 1.0), (3, 1.0)])
def test_no_time_is_left_when_the_work_is_done(pipe, advance, completed, fraction):
    live = Progress("train", 100, "steps")
    advance(30)
    live.update(completed, fraction=fraction)
    assert pipe.getvalue() == f"train     {min(completed, 100)}/100 steps  30 s\n"


def test_a_pipe_gets_few_whole_lines(pipe, advance):
    live = Progress("train", 1000, "step")
    for step in range(100):
        live.update(step)
        advance(0.1)
    live.finish("finished")
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 3
    assert "\r" not in pipe.getvalue()
    assert lines[-1].split() == ["train", "finished"]


def test_a_forced_line_is_always_written(pipe, advance):
    live = Progress("train", 10, "step")
    for step in range(4):
        live.update(step, force=True)
    assert len(pipe.getvalue().splitlines()) == 4


def test_a_terminal_gets_one_line_that_is_overwritten(terminal, advance):
    live = Progress("ttt", 10, "chunks")
    for step in range(3):
        advance(1)
        live.update(step, bpb="1.5")
    live.finish("1.4 bpb")
    text = terminal.getvalue()
    assert text.count("\r") == 4
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.rstrip().endswith("1.4 bpb")


def test_a_shorter_line_covers_the_longer_one_before_it(terminal, advance):
    live = Progress("ttt", None, "chunks")
    live.update(1, note="x" * 30)
    advance(1)
    live.update(2)
    first, second = terminal.getvalue().split("\r")[1:]
    assert len(second) == len(first)


def test_a_line_never_wraps_on_a_narrow_terminal(terminal, advance, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    Progress("ttt", None, "chunks").update(1, note="x" * 100)
    assert len(terminal.getvalue().removeprefix("\r")) == 29


def test_ranks_other_than_the_first_write_nothing(pipe, advance):
    live = Progress("train", 10, "step", quiet=True)
    live.update(1, force=True)
    live.finish("finished")
    assert pipe.getvalue() == ""


def test_a_report_is_called_at_once_and_again_while_the_block_runs_and_not_after_it():
    called, n_threads = threading.Semaphore(0), threading.active_count()
    with pytest.raises(ZeroDivisionError), progress.call_repeatedly(called.release, interval_s=0.001):  # noqa: PT012
        for _ in range(3):
            assert called.acquire(timeout=60)
        raise ZeroDivisionError
    assert threading.active_count() == n_threads


def test_durations_are_minutes_and_seconds():
    seconds = (-3, 0, 59.4, 60, 79, 3600)
    assert [progress.format_duration(s) for s in seconds] == ["0s", "0s", "59s", "1m00s", "1m19s", "60m00s"]


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (0, ("chunk",), "0 chunks"),
        (1, ("chunk",), "1 chunk"),
        (1024, ("chunk",), "1,024 chunks"),
        (1, ("process", "processes"), "1 process"),
        (2, ("process", "processes"), "2 processes"),
    ],
)
def test_a_count_agrees_with_its_noun(n, words, text):
    assert progress.format_count(n, *words) == text
