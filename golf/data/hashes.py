"""sha256 of large files, computed once for as long as a file stays what it was.

A file counts as unchanged while its size, its time of change to the nanosecond and its inode are those that it was
hashed with; hashing 25 GB at every opening of the train split would take longer than it trains. Whoever changes a file
and forges all three is not caught by this; a copy, an edit or damage by another program is.
"""

import os
from pathlib import Path

from golf.ground import store
from golf.ground.errors import BadArtifact

FILE = "hashes.json"
TYPES = {"sha256": str, "size": int, "mtime_ns": int, "inode": int}


class Hashes:
    """What hashes.json in a folder remembers of the files below it, by their paths in it."""

    def __init__(self, folder):
        """Raises BadArtifact when hashes.json is there and is none."""
        self.folder = Path(folder)
        path = self.folder / FILE
        self.rows = store.read_json(path) if path.exists() else {}
        for name, row in self.rows.items():
            if not isinstance(row, dict) or any(type(row.get(key)) is not kind for key, kind in TYPES.items()):
                raise BadArtifact(path, f"what it says of {name} is no record of a file", f"delete {path}")

    def known(self, name: str) -> str | None:
        """The sha256 of a file that has not changed since it was taken; None for any other."""
        row = self.rows.get(name)
        return row["sha256"] if row and identity(self.folder / name) == rest(row) else None

    def first(self, name: str) -> str | None:
        """The sha256 that was taken when a file of this name was first seen, whatever lies there now."""
        return self.rows[name]["sha256"] if name in self.rows else None

    def of(self, name: str) -> str:
        """The sha256 of a file as it is now; nothing is noted."""
        return self.known(name) or store.digest(self.folder / name)

    def note(self, name: str, sha256: str) -> None:
        """Remember that this file, as it lies there now, has this sha256."""
        self.rows[name] = {"sha256": sha256} | identity(self.folder / name)

    def save(self) -> None:
        store.write_json(self.folder / FILE, self.rows)


def identity(path) -> dict[str, int] | None:
    """None where there is no such file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}


def rest(row: dict) -> dict:
    return {key: row[key] for key in ("size", "mtime_ns", "inode")}
