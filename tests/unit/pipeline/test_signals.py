import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from golf.pipeline import signals
from tests.helpers.tiny_corpus import ROOT


@pytest.fixture
def received_signals(monkeypatch):
    """Handlers that only write down what they hear; those of before come back afterwards."""
    kept = {number: signal.getsignal(number) for number in signals.TERMINATION_SIGNALS}
    found = []
    for number in signals.TERMINATION_SIGNALS:
        signal.signal(number, lambda number, _: found.append(number))
    monkeypatch.delenv("RANK", raising=False)
    yield found
    for number, how in kept.items():
        signal.signal(number, how)


@pytest.mark.parametrize("number", signals.TERMINATION_SIGNALS)
def test_a_signal_is_noted_while_the_work_goes_on_and_heard_again_afterwards(received_signals, number):
    with signals.DeferSignals() as postponed:
        assert postponed.pending is None
        signal.raise_signal(number)
        assert (postponed.pending, received_signals) == (number, [])
    signal.raise_signal(number)
    assert received_signals == [number]


def test_the_same_wish_from_terminal_and_launcher_is_one_and_a_later_one_is_obeyed(received_signals, monkeypatch):
    with signals.DeferSignals() as postponed:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert (postponed.pending, received_signals) == (signal.SIGINT, [])
        monkeypatch.setattr(signals, "REPEAT_AFTER_S", -1.0)
        signal.raise_signal(signal.SIGINT)
        assert received_signals == [signal.SIGINT]


def test_what_nohup_ignores_stays_ignored(received_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.DeferSignals() as postponed:
        signal.raise_signal(signal.SIGHUP)
    signals.install_handlers()
    assert postponed.pending is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_postponed_and_nothing_breaks(received_signals):
    def work():
        with signals.DeferSignals() as postponed:
            seen.append(postponed.previous_handlers)

    seen = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_answered_signal_ends_the_process_as_an_exit_does(received_signals, number):
    signals.install_handlers()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(number)
    assert ended.value.code == 128 + number


STUCK = """
import os, threading
from golf.ground import signals
signals.GRACE_S = 0.2
signals.answer()
lock = threading.Lock()
lock.acquire()
with signals.Postponed():
    print("stuck", flush=True)
    while True:
        lock.acquire(timeout=60)  # goes on waiting when a handler has run, as a collective does
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rank_that_hangs_where_no_signal_is_answered_ends_all_the_same(number):
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"RANK": "1"}, stdout=subprocess.PIPE, text=True) as rank:
        assert rank.stdout.readline() == "stuck\n"
        rank.send_signal(number)
        assert rank.wait(timeout=20) == 128 + number


CHILD = """
import os, sys, time
from golf.ground import signals
signals.answer()
signals.watch_parents()
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
{before}
child = subprocess.Popen({command}, env=os.environ | {variables})
child.wait()
"""


def orphan(command: list[str], variables: str) -> psutil.Process:
    """A process that watches its parents, whose parent was just killed."""
    program = PARENT.format(before="", command=command, variables=variables)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    return child


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ([sys.executable, "-c", CHILD], "{'GOLF_LAUNCHER': str(os.getpid())}"),
        ([sys.executable, "-c", CHILD], "{'DVC_STAGE': 'train'}"),
        (["sh", "-c", f"{sys.executable} -c '{CHILD}'; true"], "{'DVC_STAGE': 'train'}"),
    ],
    ids=["a rank", "a stage under DVC", "a stage under a shell under DVC"],
)
def test_who_is_started_by_another_ends_soon_after_it(command, variables):
    child = orphan(command, variables)
    try:
        child.wait(timeout=30)
    except psutil.TimeoutExpired:
        child.kill()
        pytest.fail("it lives on")


def test_a_bare_stage_outlives_the_shell_that_started_it():
    child = orphan([sys.executable, "-c", CHILD], "{}")
    time.sleep(4 * signals.PARENT_POLL_S)
    assert child.is_running()
    child.kill()


def test_who_comes_too_late_to_see_its_parent_sees_that_it_is_gone(monkeypatch):
    monkeypatch.setenv(signals.LAUNCHER_PID_ENV, str(os.getpid()))  # not our parent
    assert signals.find_parents() == [None]
