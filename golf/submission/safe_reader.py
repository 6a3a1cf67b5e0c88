"""Read the files of an untrusted submission folder as text: nothing in it is imported or run, no read leaves it.

All reads are bounded: the number of files, the bytes of each file, and regular files only.
"""

import itertools
import json
import os
import stat
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from golf.errors import ArtifactError, InputError
from golf.submission.logs import decoding

__all__ = [
    "MAX_CODE_BYTES",
    "MAX_FILES",
    "MAX_JSON_BYTES",
    "MAX_LOG_BYTES",
    "SubmissionDir",
    "list_dir",
    "read_bytes",
    "read_json",
    "read_log",
    "read_text",
    "scan_folder",
]

MAX_FILES = 2000
MAX_LOG_BYTES = 16 << 20  # of a longer log, head and tail are read, half of this each; real logs are under 1 MiB
MAX_CODE_BYTES = 4 << 20
MAX_JSON_BYTES = 1 << 20
_MAX_JSON_DEPTH = 32


@dataclass(frozen=True)
class SubmissionDir:
    """A listed folder.

    root: its resolved path. sizes: the bytes of each regular file by its path under root. rejected: what is never
    opened, with the reason.
    """

    root: Path
    sizes: dict[str, int]
    rejected: tuple[str, ...] = ()

    def list_files_with_suffix(self, *suffixes: str) -> list[str]:
        """Return the files whose lower-case names end in one of the suffixes, sorted."""
        return [name for name in self.sizes if name.lower().endswith(suffixes)]


def scan_folder(path: Path) -> SubmissionDir:
    """List a folder. A link out of it, a broken link, a pipe or a device is rejected: listed, but never opened.

    Subfolders whose names start with a dot are skipped, and one that can't be listed is rejected. Raises InputError if
    the path does not exist, is not a folder, can't be listed, is empty, or holds more than MAX_FILES.
    """
    if not path.is_dir():
        state = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path}: {state}; expected a submission folder with submission.json and its logs")
    root = path.resolve()
    sizes: dict[str, int] = {}
    rejected: list[str] = []
    pending_dirs, n_seen = [root], 0
    while pending_dirs:
        current_dir = pending_dirs.pop()
        try:
            entries = list_dir(current_dir)
        except InputError:
            if current_dir == root:
                raise
            rejected.append(f"{current_dir.relative_to(root).as_posix()} can't be listed")
            continue
        for entry in entries:
            n_seen += 1
            if n_seen > MAX_FILES:
                raise InputError(f"{root}: more than {MAX_FILES:,} files; expected the folder of a single submission")
            name = Path(entry.path).relative_to(root).as_posix()
            if problem := _explain_rejection(entry, root):
                rejected.append(f"{name} {problem}")
            elif not entry.is_dir():
                sizes[name] = entry.stat().st_size
            elif not entry.name.startswith("."):
                pending_dirs.append(Path(entry.path))
    if not sizes and not rejected:
        raise InputError(f"{root}: empty; a submission holds README.md, submission.json, train_gpt.py and its logs")
    return SubmissionDir(root, dict(sorted(sizes.items())), tuple(sorted(rejected)))


def list_dir(folder: Path, max_entries: int | None = None) -> list[os.DirEntry[str]]:
    """Return at most ``max_entries`` entries of a folder, by default MAX_FILES + 1.

    Raises InputError if it can't be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return list(itertools.islice(entries, MAX_FILES + 1 if max_entries is None else max_entries))
    except OSError as error:
        raise InputError(f"{folder}: can't be listed ({error.strerror})") from None


def _explain_rejection(entry: os.DirEntry[str], root: Path) -> str:
    """Why this entry is not opened; "" for a folder, a regular file, and a link to a regular file in the folder."""
    if not entry.is_symlink():
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return "is not a regular file"
        return "" if os.access(entry.path, os.R_OK) else "can't be read"
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(root):
        return "is a link out of the folder"
    return "" if target.is_file() else "is a broken link"


def read_text(folder: SubmissionDir, name: str, max_bytes: int) -> str:
    """Return the text of a file; of a file over ``max_bytes``, its head and tail without the lines that the cut breaks.

    Raises ArtifactError if the file can't be read, or with the offset of the first byte that is not UTF-8.
    """
    size = folder.sizes[name]
    head, tail = _read_ends(folder, name, max_bytes)
    if not tail:
        return _decode(name, head, 0)
    start = tail.find(b"\n") + 1
    return _decode(name, head[: head.rfind(b"\n") + 1], 0) + _decode(name, tail[start:], size - len(tail) + start)


def read_log(folder: SubmissionDir, name: str, max_bytes: int) -> decoding.DecodedText:
    """Return the text of a log in any encoding; of a longer one, its head and tail in whole lines.

    Raises ArtifactError if the file can't be read or is no text.
    """
    head, tail = _read_ends(folder, name, max_bytes)
    first = decoding.decode_log(name, head)
    if not tail:
        return first
    rest = decoding.decode_log(name, tail, first.encoding)
    text = first.text[: first.text.rfind("\n") + 1] + rest.text[rest.text.find("\n") + 1 :]
    return decoding.DecodedText(text, first.encoding, max(0, first.n_replaced + rest.n_replaced - 2))


def read_bytes(folder: SubmissionDir, name: str, max_bytes: int) -> bytes:
    """Return the first bytes of a file. Raises ArtifactError if it can't be read."""
    return _read_ends(folder, name, max_bytes)[0]


def _read_ends(folder: SubmissionDir, name: str, max_bytes: int) -> tuple[bytes, bytes]:
    """The bytes of a file and b"", or its head and its tail, which starts at a multiple of four."""
    size = folder.sizes[name]
    try:
        with open(folder.root / name, "rb") as file:
            if size <= max_bytes:
                return file.read(max_bytes), b""
            head = file.read(max_bytes // 8 * 4)
            file.seek(-(-(size - max_bytes // 2) // 4) * 4)
            return head, file.read(max_bytes // 2)
    except OSError as error:
        raise ArtifactError(name, f"can't be read ({error.strerror})") from None


def _decode(name: str, data: bytes, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(name, f"not UTF-8 at byte {offset + error.start:,}") from None


def read_json(folder: SubmissionDir, name: str) -> dict[str, Any]:
    """Return a JSON object, with fractions as Decimal, which preserves the number of written digits.

    Raises ArtifactError if the file is too large, nested too deeply, not JSON, not an object, or holds NaN or infinity.
    """
    if folder.sizes[name] > MAX_JSON_BYTES:
        raise ArtifactError(name, f"{folder.sizes[name]:,} bytes, at most {MAX_JSON_BYTES:,} are allowed")
    try:
        text = read_text(folder, name, MAX_JSON_BYTES).removeprefix("\ufeff")  # some editors write this mark
        data = json.loads(text, parse_float=Decimal, parse_constant=_reject_constant)
    except RecursionError:
        raise ArtifactError(name, "nested too deeply") from None
    except (ValueError, ArithmeticError) as error:
        raise ArtifactError(name, f"not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise ArtifactError(name, f"expected a JSON object, got {type(data).__name__}")
    if _exceeds_depth(data, _MAX_JSON_DEPTH):
        raise ArtifactError(name, f"nested more than {_MAX_JSON_DEPTH} levels deep")
    return data


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _exceeds_depth(node: object, max_depth: int) -> bool:
    """Whether lists and objects are nested more than ``max_depth`` levels deep."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return max_depth < 0 or any(_exceeds_depth(child, max_depth - 1) for child in children)
