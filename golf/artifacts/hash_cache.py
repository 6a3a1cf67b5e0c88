"""A cache of the sha256 of large files, valid while a file's size, modification time and inode stay the same.

Hashing the 25 GB of a train split whenever it is opened would take longer than training on it. A copied, edited or
damaged file is recognized as changed; a change that forges all three values is not.
"""

import os
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.errors import ArtifactError

__all__ = ["HashCache"]

_CACHE_FILE = "hashes.json"
_ENTRY_TYPES = {"sha256": str, "size": int, "mtime_ns": int, "inode": int}


class HashCache:
    """hashes.json of a folder: the sha256 of files below it, by their paths relative to the folder."""

    def __init__(self, folder: Path | str) -> None:
        """Raises ArtifactError if hashes.json exists and is malformed."""
        self._folder = Path(folder)
        path = self._folder / _CACHE_FILE
        self.entries: dict[str, dict[str, Any]] = io.read_json(path) if path.exists() else {}
        for name, entry in self.entries.items():
            if not isinstance(entry, dict) or any(
                type(entry.get(key)) is not expected_type for key, expected_type in _ENTRY_TYPES.items()
            ):
                raise ArtifactError(path, f"the entry of {name} is malformed", f"delete {path}")

    def lookup(self, name: str) -> str | None:
        """Return the sha256 of a file that has not changed since it was hashed; None for any other file."""
        entry = self.entries.get(name)
        return (
            entry["sha256"]
            if entry and _get_file_identity(self._folder / name) == _get_recorded_identity(entry)
            else None
        )

    def get_recorded(self, name: str) -> str | None:
        """Return the recorded sha256 of a file, whether or not the file has changed since."""
        return self.entries[name]["sha256"] if name in self.entries else None

    def get(self, name: str) -> str:
        """Return the sha256 of a file as it is now, hashed if necessary; the cache is not updated."""
        return self.lookup(name) or io.sha256_file(self._folder / name)

    def put(self, name: str, sha256: str) -> None:
        """Record ``sha256`` for the file as it is now. Raises FileNotFoundError if there is none."""
        self.entries[name] = {"sha256": sha256} | _get_stat_identity(os.stat(self._folder / name))

    def save(self) -> None:
        """Write hashes.json."""
        io.write_json(self._folder / _CACHE_FILE, self.entries)


def _get_file_identity(path: Path) -> dict[str, int] | None:
    """Size, modification time and inode; None if the file does not exist."""
    try:
        return _get_stat_identity(os.stat(path))
    except FileNotFoundError:
        return None


def _get_stat_identity(stat: os.stat_result) -> dict[str, int]:
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def _get_recorded_identity(entry: dict[str, Any]) -> dict[str, int]:
    return {key: entry[key] for key in ("size", "mtime_ns", "inode")}
