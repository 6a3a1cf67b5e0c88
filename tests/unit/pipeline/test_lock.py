import contextlib
import fcntl
import os
import subprocess
import sys

import pytest

from golf.errors import UnavailableError
from golf.pipeline import lock
from tests.helpers.tiny_corpus import ROOT

HOLD = """
import sys
from golf.ground import lock
with lock.held(sys.argv[1], "train"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "train" / "lock"


@pytest.fixture
def lock_holder(path):
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_the_first_ones_id_and_how_to_end_it(path, lock_holder):
    with pytest.raises(lock.AlreadyRunningError) as refused, lock.file_lock(path, "train", timeout_s=0.0):
        pass
    words = f"process {lock_holder.pid} is at work on this here; wait, or end it: kill {lock_holder.pid}"
    assert str(refused.value) == words


def test_a_killed_holder_leaves_a_file_and_no_lock(path, lock_holder):
    lock_holder.kill()
    lock_holder.wait()
    assert path.read_text().split()[0] == str(lock_holder.pid)
    with lock.file_lock(path, "train", timeout_s=0.0):
        assert path.read_text().split()[0] == str(os.getpid())


def test_a_lock_is_waited_for_as_long_as_an_orphan_may_need_to_end(path, lock_holder):
    lock_holder.stdin.close()  # lets go in a moment
    with lock.file_lock(path, "train", timeout_s=60.0):
        assert path.read_text().split()[0] == str(os.getpid())


def test_the_file_is_gone_afterwards_whatever_happened(path):
    with contextlib.suppress(KeyError), lock.file_lock(path, "train"):
        assert path.exists()
        raise KeyError
    assert not path.exists()


def test_who_opened_a_file_that_its_holder_then_removed_has_no_lock(path, monkeypatch):
    path.parent.mkdir(parents=True)
    path.touch()
    real = fcntl.flock

    def removed_meanwhile(handle, how):
        path.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    assert lock.try_acquire(path) is None


def test_a_child_that_runs_another_program_does_not_keep_the_lock(path):
    with lock.file_lock(path, "train"):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        with lock.file_lock(path, "train", timeout_s=0.0):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_file_system_without_locks_is_said_by_the_file(path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UnavailableError, match=r"lock: can't be locked \(No locks available\)"),
        lock.file_lock(path, "train"),
    ):
        pass


def test_unfinished_runs_lie_here_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("GOLF_RUNS", raising=False)
    assert lock.resume_dir("train").as_posix() == "runs/train"
    monkeypatch.setenv("GOLF_RUNS", str(tmp_path))
    assert lock.resume_dir("train") == tmp_path / "train"
