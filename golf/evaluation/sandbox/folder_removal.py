"""Remove a folder that a stranger's process has filled: of any depth, of any permissions."""

import contextlib
import os
import stat
from itertools import count
from pathlib import Path

__all__ = ["clear_folder", "remove_folder"]


def clear_folder(folder: str | Path) -> None:
    """Remove all that lies in ``folder``, without recursion and by short paths: inner folders are first moved up.

    Raises OSError for what cannot be removed.
    """
    top = os.fspath(folder)
    names = count()
    os.chmod(top, stat.S_IRWXU)
    pending = [entry.path for entry in os.scandir(top)]
    while pending:
        path = pending.pop()
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            continue
        os.chmod(path, stat.S_IRWXU)
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, stat.S_IRWXU)  # a folder that is moved must be writable
                while os.path.lexists(moved := os.path.join(top, f"removed-{next(names)}")):
                    pass
                os.rename(entry.path, moved)
                pending.append(moved)
            else:
                os.unlink(entry.path)
        os.rmdir(path)


def remove_folder(folder: str | Path) -> None:
    """Remove ``folder`` with all that lies in it, as far as this process may."""
    with contextlib.suppress(OSError):
        clear_folder(folder)
        os.rmdir(folder)
