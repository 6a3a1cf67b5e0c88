import contextlib
import fcntl
import os
import subprocess
import sys

import pytest

from golf.errors import UnavailableError
from golf.pipeline import lock
from tests.helpers.programs import hold_lock
from tests.helpers.tiny_corpus import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "train" / "lock"


@pytest.fixture
def lock_holder(path):
    command = [sys.executable, hold_lock.__file__, str(path)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_the_holders_id_and_how_to_end_it(path, lock_holder):
    with pytest.raises(lock.AlreadyRunningError) as error, lock.hold_file_lock(path, timeout_s=0.0):
        pass
    pid = lock_holder.pid
    assert str(error.value) == f"process {pid} is already running; wait for it, or end it: kill {pid}"


def test_a_holder_on_another_machine_is_named_with_its_host(path, lock_holder):
    path.write_text("17 elsewhere")
    with (
        pytest.raises(lock.AlreadyRunningError, match="process 17 on elsewhere"),
        lock.hold_file_lock(path, timeout_s=0.0),
    ):
        pass


def test_a_killed_holder_leaves_a_file_but_no_lock(path, lock_holder):
    lock_holder.kill()
    lock_holder.wait()
    assert path.read_text().split()[0] == str(lock_holder.pid)
    with lock.hold_file_lock(path, timeout_s=0.0):
        assert path.read_text().split()[0] == str(os.getpid())


def test_a_lock_is_waited_for(path, lock_holder):
    lock_holder.stdin.close()  # the holder exits in a moment
    with lock.hold_file_lock(path, timeout_s=60.0):
        assert path.read_text().split()[0] == str(os.getpid())


def test_the_file_is_removed_even_after_an_error(path):
    with contextlib.suppress(KeyError), lock.hold_file_lock(path):
        assert path.exists()
        raise KeyError
    assert not path.exists()


def test_a_waiter_whose_open_file_was_removed_locks_the_new_one(path, monkeypatch):
    path.parent.mkdir(parents=True)
    path.touch()
    real_flock = fcntl.flock

    def flock_a_removed_file(fd, operation):
        monkeypatch.setattr(fcntl, "flock", real_flock)
        path.unlink()
        real_flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_a_removed_file)
    with lock.hold_file_lock(path):
        assert path.exists()


def test_a_child_that_executes_another_program_does_not_keep_the_lock(path):
    with lock.hold_file_lock(path):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        with lock.hold_file_lock(path, timeout_s=0.0):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_file_system_without_locks_is_reported_with_the_file(path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UnavailableError, match=r"lock: cannot be locked \(No locks available\)"),
        lock.hold_file_lock(path),
    ):
        pass


def test_the_environment_can_move_the_folder_of_unfinished_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("GOLF_RESUME_DIR", raising=False)
    assert lock.get_resume_dir("train").as_posix() == "runs/train"
    monkeypatch.setenv("GOLF_RESUME_DIR", str(tmp_path))
    assert lock.get_resume_dir("train") == tmp_path / "train"
