"""Say in one message what the operating system refused: the path, the reason, what was being done, what to do."""

import errno
import os
import tempfile
import traceback
from pathlib import Path

__all__ = ["describe_os_error"]

_PROJECT_DIR = Path(__file__).resolve().parents[2]
_MAX_CHARS = 300  # of a path or a reason
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some space, or have the quota raised",
    errno.EFBIG: "raise the largest size of a file (ulimit -f), or use another file system",
    errno.EACCES: "give this user the right to it (ls -ld shows who has it)",
    errno.EPERM: "give this user the right to it (ls -ld and lsattr -d show what forbids it)",
    errno.EROFS: "work in a folder that can be written; this one's file system is mounted read-only",
    errno.ENOENT: "check that it exists",
    errno.ENOTDIR: "a part of the path is a file, not a folder: move that file away",
    errno.EEXIST: "move away what is there",
    errno.EISDIR: "a folder stands in the place of a file: move it away",
    errno.ENOTEMPTY: "move away what is in it",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "a link leads back to itself: remove it",
    errno.EXDEV: "keep the project on one file system",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs: the machine has too many open files",
    errno.ENOMEM: "free some memory",
    errno.EIO: "check the disk",
    errno.EBUSY: "end the program that uses it",
    errno.ESTALE: "mount the network folder again",
}
_DEFAULT_HINT = "check the path, the disk and the connection"


def describe_os_error(error: OSError) -> str:
    """Return one line: ``PATH: reason, while it did something; hint``.

    Works for an error without path, number or text.
    """
    path = _find_path(error)
    location = "" if path is None else f"{_shorten(path)}: "
    reason = " ".join((error.strerror or str(error) or type(error).__name__)[:_MAX_CHARS].split())
    action = _find_action(error)
    doing = f", while it ran {action}" if action else ""
    hint = _HINTS.get(error.errno or 0, _DEFAULT_HINT)
    if error.errno in _DISK_FULL and _is_temporary(path):
        hint += ", or set TMPDIR to a folder on another one"
    return f"{location}{reason}{doing}; {hint}"


def _find_path(error: OSError) -> str | None:
    """The path that the call failed on. A copy that fills a disk fails on its target, the second of its paths."""
    use_target = error.errno in _DISK_FULL and error.filename2 is not None
    path = error.filename2 if use_target else error.filename
    return None if path is None else os.fsdecode(path) if isinstance(path, bytes | str | os.PathLike) else str(path)


def _find_action(error: OSError) -> str:
    """The innermost function of this project that ran, whose name is a verb; "" outside of all."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(_PROJECT_DIR) and "site-packages" not in file.parts and frame.name.isidentifier():
            return f"{frame.name.strip('_')} ({file.relative_to(_PROJECT_DIR).as_posix()})"
    return ""


def _is_temporary(path: str | None) -> bool:
    """Whether a path lies in the folder for temporary files and outside of the project that is worked on.

    True where that cannot be told, as of a path that is not known.
    """
    try:
        if path is None:
            return True
        target = Path(path).resolve()
        return target.is_relative_to(Path(tempfile.gettempdir()).resolve()) and not target.is_relative_to(Path.cwd())
    except OSError:
        return True


def _shorten(path: str) -> str:
    """A path of which a message can hold the whole, or its beginning and end."""
    half = _MAX_CHARS // 2
    return path if len(path) <= _MAX_CHARS else f"{path[:half]}…{path[-half:]}"
