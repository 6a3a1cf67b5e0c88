"""A submission folder as files, opened as text alone: nothing in it is imported or run, and no read leaves it.

What is read is bounded, as the folder is a stranger's: so many files, so many bytes of each, regular files only.
"""

import json
import os
import stat
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from golf.ground.errors import BadArtifact, BadInput

MAX_FILES = 2000
LOG_BYTES = 16 << 20  # of a log: its head and its tail, half of this each; real ones stay under 1 MiB
CODE_BYTES = 4 << 20
JSON_BYTES = 1 << 20
JSON_DEPTH = 32


@dataclass(frozen=True)
class Folder:
    """root: resolved. sizes: bytes of each regular file, by path under root. refused: what is not opened, and why."""

    root: Path
    sizes: dict[str, int]
    refused: tuple[str, ...] = ()

    def named(self, *endings: str) -> list[str]:
        """The files whose names end so, sorted."""
        return [name for name in self.sizes if name.lower().endswith(endings)]


def read(path) -> Folder:
    """List a folder. A link out of it, a broken link, a pipe or a device is refused: named, and never opened.

    Folders whose names start with a dot are passed over. Raises BadInput when it doesn't exist, isn't a folder, is
    empty, or holds more than MAX_FILES.
    """
    root = Path(path)
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise BadInput(f"{root}: {found}; name a submission's folder, which holds submission.json and the logs")
    root = root.resolve()
    sizes, refused, waiting, seen = {}, [], [root], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_FILES:
                    raise BadInput(f"{root}: more than {MAX_FILES:,} files; name the folder of one submission alone")
                name = Path(entry.path).relative_to(root).as_posix()
                if problem := refusal(entry, root):
                    refused.append(f"{name} {problem}")
                elif not entry.is_dir():
                    sizes[name] = entry.stat().st_size
                elif not entry.name.startswith("."):
                    waiting.append(entry.path)
    if not sizes and not refused:
        raise BadInput(f"{root}: empty; a submission holds README.md, submission.json, train_gpt.py and its logs")
    return Folder(root, dict(sorted(sizes.items())), tuple(sorted(refused)))


def refusal(entry: os.DirEntry, root: Path) -> str:
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


def text(folder: Folder, name: str, limit: int) -> str:
    """A file's text; of one longer than ``limit`` bytes, the head and the tail, without the lines that the cut broke.

    Raises BadArtifact naming the file and the offset of the first byte that is not UTF-8.
    """
    size = folder.sizes[name]
    try:
        with open(folder.root / name, "rb") as file:
            if size <= limit:
                return decoded(name, file.read(limit), 0)
            head = file.read(limit // 2)
            file.seek(size - limit // 2)
            tail = file.read(limit // 2)
    except OSError as error:
        raise BadArtifact(name, str(error.strerror)) from None
    start = tail.find(b"\n") + 1
    return decoded(name, head[: head.rfind(b"\n") + 1], 0) + decoded(name, tail[start:], size - len(tail) + start)


def decoded(name: str, data: bytes, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadArtifact(name, f"not UTF-8 at byte {offset + error.start:,}") from None


def tree(folder: Folder, name: str) -> dict:
    """A JSON object, its fractions as Decimal, which keep how many places were written.

    Raises BadArtifact: too large, too deep, not JSON, NaN or infinity, or no object.
    """
    if folder.sizes[name] > JSON_BYTES:
        raise BadArtifact(name, f"{folder.sizes[name]:,} bytes, at most {JSON_BYTES:,} are read")
    try:
        found = json.loads(text(folder, name, JSON_BYTES), parse_float=Decimal, parse_constant=refuse)
    except RecursionError:
        raise BadArtifact(name, "nested too deep") from None
    except (ValueError, ArithmeticError) as error:
        raise BadArtifact(name, f"not valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise BadArtifact(name, f"expected a JSON object, got {type(found).__name__}")
    if deeper(found, JSON_DEPTH):
        raise BadArtifact(name, f"nested more than {JSON_DEPTH} deep")
    return found


def refuse(constant: str):
    raise ValueError(f"{constant} is not JSON")


def deeper(node, levels: int) -> bool:
    """Whether lists and objects are nested deeper than this."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels < 0 or any(deeper(child, levels - 1) for child in inner)
