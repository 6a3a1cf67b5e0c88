"""sha256 of large files, computed once for as long as a file stays what it was.

A file counts as unchanged while its size, its time of change to the nanosecond and its inode are those that it was
hashed with; hashing 25 GB at every opening of the train split would take longer than it trains. Whoever changes a file
and forges all three is not caught by this; a copy, an edit or damage by another program is.
"""

import os
from pathlib import Path

from golf.artifacts import io
from golf.errors import ArtifactError

_CACHE_FILE = "hashes.json"
_ENTRY_TYPES = {"sha256": str, "size": int, "mtime_ns": int, "inode": int}


class HashCache:
    """What hashes.json in a folder remembers of the files below it, by their paths in it."""

    def __init__(self, folder):
        """Raises BadArtifact when hashes.json is there and is none."""
        self._folder = Path(folder)
        path = self._folder / _CACHE_FILE
        self.entries = io.read_json(path) if path.exists() else {}
        for name, entry in self.entries.items():
            if not isinstance(entry, dict) or any(
                type(entry.get(key)) is not expected_type for key, expected_type in _ENTRY_TYPES.items()
            ):
                raise ArtifactError(path, f"what it says of {name} is no record of a file", f"delete {path}")

    def lookup(self, name: str) -> str | None:
        """The sha256 of a file that has not changed since it was taken; None for any other."""
        entry = self.entries.get(name)
        return entry["sha256"] if entry and _file_identity(self._folder / name) == _recorded_identity(entry) else None

    def recorded(self, name: str) -> str | None:
        """The sha256 that was taken when a file of this name was first seen, whatever lies there now."""
        return self.entries[name]["sha256"] if name in self.entries else None

    def get(self, name: str) -> str:
        """The sha256 of a file as it is now; nothing is noted."""
        return self.lookup(name) or io.sha256_file(self._folder / name)

    def put(self, name: str, sha256: str) -> None:
        """Remember that this file, as it lies there now, has this sha256."""
        self.entries[name] = {"sha256": sha256} | _file_identity(self._folder / name)

    def save(self) -> None:
        io.write_json(self._folder / _CACHE_FILE, self.entries)


def _file_identity(path) -> dict[str, int] | None:
    """None where there is no such file."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def _recorded_identity(entry: dict) -> dict:
    return {key: entry[key] for key in ("size", "mtime_ns", "inode")}
