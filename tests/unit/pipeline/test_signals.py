import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from golf.distributed.launcher import LAUNCHER_PID_ENV
from golf.pipeline import signals
from tests.helpers.programs import exit_with_parent, start_child, stuck_rank
from tests.helpers.tiny_corpus import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def received_signals(monkeypatch):
    """The signals received, in a list; the previous handlers are restored afterwards."""
    previous = {number: signal.getsignal(number) for number in signals.TERMINATION_SIGNALS}
    received = []
    for number in signals.TERMINATION_SIGNALS:
        signal.signal(number, lambda number, _: received.append(number))
    monkeypatch.delenv("RANK", raising=False)
    yield received
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.TERMINATION_SIGNALS)
def test_a_signal_is_deferred_inside_the_block_and_handled_after_it(received_signals, number):
    with signals.DeferSignals() as deferred:
        assert deferred.pending is None
        signal.raise_signal(number)
        assert (deferred.pending, received_signals) == (number, [])
    signal.raise_signal(number)
    assert received_signals == [number]


def test_a_second_signal_is_ignored_at_first_and_handled_later(received_signals, monkeypatch):
    with signals.DeferSignals() as deferred:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert (deferred.pending, received_signals) == (signal.SIGINT, [])
        monkeypatch.setattr(signals, "REPEAT_AFTER_S", -1.0)
        signal.raise_signal(signal.SIGINT)
        assert received_signals == [signal.SIGINT]


def test_a_signal_that_nohup_ignores_stays_ignored(received_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.DeferSignals() as deferred:
        signal.raise_signal(signal.SIGHUP)
    signals.install_handlers()
    assert deferred.pending is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_outside_the_main_thread_no_signal_is_deferred(received_signals):
    def work():
        with signals.DeferSignals() as deferred:
            replaced.append(deferred.previous_handlers)

    replaced = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert replaced == [{}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_handled_signal_raises_system_exit(received_signals, number):
    signals.install_handlers()
    with pytest.raises(SystemExit) as exit_info:
        signal.raise_signal(number)
    assert exit_info.value.code == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rank_that_hangs_where_no_handler_runs_exits_all_the_same(number):
    command = [sys.executable, stuck_rank.__file__]
    with subprocess.Popen(command, env=ENVIRONMENT | {"RANK": "1"}, stdout=subprocess.PIPE, text=True) as rank:
        assert rank.stdout.readline() == "stuck\n"
        rank.send_signal(number)
        try:
            assert rank.wait(timeout=20) == 128 + number
        finally:
            rank.kill()


CHILD = [sys.executable, exit_with_parent.__file__]


def start_orphan(command: list[str], **variables: str) -> psutil.Process:
    """A process that watches its parents, one of which was just killed."""
    command = [sys.executable, start_child.__file__, *command]
    with subprocess.Popen(command, env=ENVIRONMENT | variables, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    return child


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (CHILD, {LAUNCHER_PID_ENV: "the parent's"}),
        (CHILD, {"DVC_STAGE": "train"}),
        (["sh", "-c", f"{shlex.join(CHILD)}; true"], {"DVC_STAGE": "train"}),
    ],
    ids=["a rank", "a stage under DVC", "a stage under a shell under DVC"],
)
def test_a_child_exits_soon_after_its_parent(command, variables):
    child = start_orphan(command, **variables)
    try:
        child.wait(timeout=30)
    except psutil.TimeoutExpired:
        child.kill()
        pytest.fail("the child is still running")


def test_a_bare_stage_outlives_the_shell_that_started_it():
    child = start_orphan(CHILD)
    time.sleep(4 * signals.PARENT_POLL_S)
    assert child.is_running()
    child.kill()


def test_a_parent_that_died_before_the_first_look_is_noticed(monkeypatch):
    monkeypatch.setenv(LAUNCHER_PID_ENV, str(os.getpid()))  # not our parent
    assert signals.find_parents() == [None]
