"""One process at a time: a lock file that names its holder, and that the kernel lets go of when the holder dies."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from golf.errors import UnavailableError

RESUME_DIR_ENV = "GOLF_RUNS"  # the folder of what unfinished runs keep, where it is not runs/ here
ACQUIRE_TIMEOUT_S = 5.0  # an orphan needs so long to notice that it is one, and to end


class AlreadyRunningError(UnavailableError):
    """Another process is at work on what this one wants to change."""


def resume_dir(stage: str) -> Path:
    """The folder in which a stage keeps what an interrupted run needs; several working folders may share it."""
    return Path(os.environ.get(RESUME_DIR_ENV) or "runs") / stage


@contextlib.contextmanager
def file_lock(path, stage: str, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock file at ``path`` while the block runs; then it is gone. name: of the stage, for the message.

    Children don't keep it: it closes when a new program is executed. Raises Busy with the holder's process id when
    that one does not let go within ``patience_s`` (None: PATIENCE_S).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + (ACQUIRE_TIMEOUT_S if timeout_s is None else timeout_s)
    while (fd := try_acquire(path)) is None:
        if time.monotonic() > deadline:
            raise AlreadyRunningError(_describe_holder(path))
        time.sleep(0.1)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it before sees that it is no longer the one there
        os.close(fd)


def _describe_holder(path: Path) -> str:
    """Who holds the lock, and what to do. Folders may be shared, and a process id is its own machine's."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, ValueError):  # it is just being let go, or taken
        return "another process is at work on this here; wait"
    if host != socket.gethostname():
        return f"process {pid} of {host} is at work on this; wait, or end it there: kill {pid}"
    return f"process {pid} is at work on this here; wait, or end it: kill {pid}"


def try_acquire(path: Path) -> int | None:
    """The descriptor of the lock file, now ours; None while it is somebody else's."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or removed by its last holder since it was opened
    except OSError as error:
        os.close(fd)
        raise UnavailableError(
            f"{path}: can't be locked ({error.strerror}); work in a folder of a local disk"
        ) from None
    os.close(fd)
    return None
