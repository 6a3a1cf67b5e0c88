"""A submission folder as files, opened as text alone: nothing in it is imported or run, and no read leaves it.

What is read is bounded, as the folder is a stranger's: so many files, so many bytes of each, regular files only.
"""

import json
import os
import stat
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from golf.errors import ArtifactError, InputError

MAX_FILES = 2000
MAX_LOG_BYTES = 16 << 20  # of a log: its head and its tail, half of this each; real ones stay under 1 MiB
MAX_CODE_BYTES = 4 << 20
MAX_JSON_BYTES = 1 << 20
_MAX_JSON_DEPTH = 32


@dataclass(frozen=True)
class SubmissionDir:
    """root: resolved. sizes: bytes of each regular file, by path under root. refused: what is not opened, and why."""

    root: Path
    sizes: dict[str, int]
    rejected: tuple[str, ...] = ()

    def files_with_suffix(self, *suffixes: str) -> list[str]:
        """The files whose names end so, sorted."""
        return [name for name in self.sizes if name.lower().endswith(suffixes)]


def scan_folder(path) -> SubmissionDir:
    """List a folder. A link out of it, a broken link, a pipe or a device is refused: named, and never opened.

    Folders whose names start with a dot are passed over. Raises BadInput when it doesn't exist, isn't a folder, is
    empty, or holds more than MAX_FILES.
    """
    root = Path(path)
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise InputError(f"{root}: {state}; name a submission's folder, which holds submission.json and the logs")
    root = root.resolve()
    sizes, rejected, pending_dirs, n_seen = {}, [], [root], 0
    while pending_dirs:
        with os.scandir(pending_dirs.pop()) as entries:
            for entry in entries:
                n_seen += 1
                if n_seen > MAX_FILES:
                    raise InputError(f"{root}: more than {MAX_FILES:,} files; name the folder of one submission alone")
                name = Path(entry.path).relative_to(root).as_posix()
                if problem := _rejection_reason(entry, root):
                    rejected.append(f"{name} {problem}")
                elif not entry.is_dir():
                    sizes[name] = entry.stat().st_size
                elif not entry.name.startswith("."):
                    pending_dirs.append(entry.path)
    if not sizes and not rejected:
        raise InputError(f"{root}: empty; a submission holds README.md, submission.json, train_gpt.py and its logs")
    return SubmissionDir(root, dict(sorted(sizes.items())), tuple(sorted(rejected)))


def _rejection_reason(entry: os.DirEntry, root: Path) -> str:
    """Why this entry is not opened; "" for a folder, a regular file, and a link to a regular file inside."""
    if not entry.is_symlink():
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return "is no regular file"
        return "" if os.access(entry.path, os.R_OK) else "can't be read"
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(root):
        return "is a link out of the folder"
    return "" if target.is_file() else "is a link to no file"


def read_text(folder: SubmissionDir, name: str, max_bytes: int) -> str:
    """A file's text; of one longer than ``limit`` bytes, the head and the tail, without the lines that the cut broke.

    Raises BadArtifact naming the file and the offset of the first byte that is not UTF-8.
    """
    size = folder.sizes[name]
    try:
        with open(folder.root / name, "rb") as file:
            if size <= max_bytes:
                return _decode(name, file.read(max_bytes), 0)
            head = file.read(max_bytes // 2)
            file.seek(size - max_bytes // 2)
            tail = file.read(max_bytes // 2)
    except OSError as error:
        raise ArtifactError(name, str(error.strerror)) from None
    start = tail.find(b"\n") + 1
    return _decode(name, head[: head.rfind(b"\n") + 1], 0) + _decode(name, tail[start:], size - len(tail) + start)


def _decode(name: str, data: bytes, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(name, f"not UTF-8 at byte {offset + error.start:,}") from None


def read_json(folder: SubmissionDir, name: str) -> dict:
    """A JSON object, its fractions as Decimal, which keep how many places were written.

    Raises BadArtifact: too large, too deep, not JSON, NaN or infinity, or no object.
    """
    if folder.sizes[name] > MAX_JSON_BYTES:
        raise ArtifactError(name, f"{folder.sizes[name]:,} bytes, at most {MAX_JSON_BYTES:,} are read")
    try:
        data = json.loads(read_text(folder, name, MAX_JSON_BYTES), parse_float=Decimal, parse_constant=_reject_constant)
    except RecursionError:
        raise ArtifactError(name, "nested too deep") from None
    except (ValueError, ArithmeticError) as error:
        raise ArtifactError(name, f"not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise ArtifactError(name, f"expected a JSON object, got {type(data).__name__}")
    if _exceeds_depth(data, _MAX_JSON_DEPTH):
        raise ArtifactError(name, f"nested more than {_MAX_JSON_DEPTH} deep")
    return data


def _reject_constant(constant: str):
    raise ValueError(f"{constant} is not JSON")


def _exceeds_depth(node, max_depth: int) -> bool:
    """Whether lists and objects are nested deeper than this."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return max_depth < 0 or any(_exceeds_depth(child, max_depth - 1) for child in children)
