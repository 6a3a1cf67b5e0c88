"""One process at a time: a lock file that names its holder, and that the kernel lets go of when the holder dies."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from golf.ground.errors import Unavailable

RUNS = "GOLF_RUNS"  # the folder of what unfinished runs keep, where it is not runs/ here
PATIENCE_S = 5.0  # an orphan needs so long to notice that it is one, and to end


class Busy(Unavailable):
    """Another process is at work on what this one wants to change."""


def runs(stage: str) -> Path:
    """The folder in which a stage keeps what an interrupted run needs; several working folders may share it."""
    return Path(os.environ.get(RUNS) or "runs") / stage


@contextlib.contextmanager
def held(path, name: str, patience_s: float | None = None) -> Iterator[None]:
    """Hold the lock file at ``path`` while the block runs; then it is gone. name: of the stage, for the message.

    Children don't keep it: it closes when a new program is executed. Raises Busy with the holder's process id when
    that one does not let go within ``patience_s`` (None: PATIENCE_S).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    while (handle := taken(path)) is None:
        if time.monotonic() > end:
            raise Busy(told(path))
        time.sleep(0.1)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it before sees that it is no longer the one there
        os.close(handle)


def told(path: Path) -> str:
    """Who holds the lock, and what to do. Folders may be shared, and a process id is its own machine's."""
    try:
        holder, host = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, ValueError):  # it is just being let go, or taken
        return "another process is at work on this here; wait"
    if host != socket.gethostname():
        return f"process {holder} of {host} is at work on this; wait, or end it there: kill {holder}"
    return f"process {holder} is at work on this here; wait, or end it: kill {holder}"


def taken(path: Path) -> int | None:
    """The descriptor of the lock file, now ours; None while it is somebody else's."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or removed by its last holder since it was opened
    except OSError as error:
        os.close(handle)
        raise Unavailable(f"{path}: can't be locked ({error.strerror}); work in a folder of a local disk") from None
    os.close(handle)
    return None
