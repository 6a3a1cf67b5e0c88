"""Locks that let one process at a time work on a stage or a saved run; the lock file names its holder."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from golf.errors import UnavailableError

__all__ = ["ACQUIRE_TIMEOUT_S", "RESUME_DIR_ENV", "AlreadyRunningError", "get_resume_dir", "hold_file_lock"]

RESUME_DIR_ENV = "GOLF_RESUME_DIR"  # folder for the state of unfinished runs; default: runs/ in the working directory
ACQUIRE_TIMEOUT_S = 5.0  # an orphaned stage needs about this long to notice that its parent is gone, and to exit
_POLL_S = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system without locks


class AlreadyRunningError(UnavailableError):
    """Another process holds the lock."""


def get_resume_dir(stage: str) -> Path:
    """Return the folder in which a stage saves what it needs to resume; several working directories may share it."""
    return Path(os.environ.get(RESUME_DIR_ENV) or "runs") / stage


@contextlib.contextmanager
def hold_file_lock(path: Path | str, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock file at ``path`` while the block runs, then remove it.

    The kernel releases the lock when its holder dies. Child processes that execute another program do not inherit it.

    timeout_s: how long to wait for another holder; None: ACQUIRE_TIMEOUT_S.
    Raises AlreadyRunningError naming the holder, UnavailableError where the file system has no locks, and
    OSError where the lock file cannot be made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(
        path,
        timeout=ACQUIRE_TIMEOUT_S if timeout_s is None else timeout_s,
        poll_interval=_POLL_S,
        mode=0o644,
        fallback_to_soft=False,  # a marker file would outlive a killed holder
        on_acquired=_write_holder,
    )
    try:
        lock.acquire()
    except Timeout:
        raise AlreadyRunningError(_describe_holder(path)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            error.filename = error.filename or str(path)
            raise
        raise UnavailableError(
            f"{path}: cannot be locked ({error.strerror}); work in a folder on a local disk"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release: a waiter that has opened the file sees that it is unlinked
        lock.release()


def _write_holder(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} {socket.gethostname()}".encode(), 0)


def _describe_holder(path: Path) -> str:
    """Who holds the lock, and what to do. The host matters in shared folders: a process id is valid on one machine."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, ValueError):  # the lock is being taken or released right now
        return "another process is running in this folder; wait for it"
    if host != socket.gethostname():
        return f"process {pid} on {host} is already running; wait for it, or end it there: kill {pid}"
    return f"process {pid} is already running; wait for it, or end it: kill {pid}"
