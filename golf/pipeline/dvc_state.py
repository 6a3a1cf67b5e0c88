"""Recognize files of DVC that a full disk or a crash has cut, on which every later dvc command would fail.

DVC writes them in place. It names the file in its error, but not what to do about it.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golf.config import yaml_reader
from golf.errors import ArtifactError, ConfigError

__all__ = ["require_intact_dvc_state"]

_RETRIES, _RETRY_AFTER_S = 3, 0.1  # a dvc command that runs now may be in the middle of a write


def require_intact_dvc_state(root: Path | str = ".") -> None:
    """Check DVC's own files in the project at ``root``; one that does not exist is intact.

    Raises ArtifactError that names the damaged file and the command that repairs it.
    """
    root = Path(root)
    rwlock_path, lock_path = root / ".dvc/tmp/rwlock", root / "dvc.lock"
    _require_intact(
        rwlock_path,
        _find_rwlock_problem,
        f"while no dvc command runs: rm {rwlock_path}; it lists what running commands use, so nothing is lost",
    )
    _require_intact(
        lock_path,
        _find_lock_problem,
        f"git checkout {lock_path}; dvc repro then runs, or takes from the cache, what has changed since",
    )


def _require_intact(path: Path, find_problem: Callable[[Path], str], hint: str) -> None:
    problem = ""
    for attempt in range(_RETRIES):
        time.sleep(_RETRY_AFTER_S if attempt else 0)
        if not path.exists() or not (problem := find_problem(path)):
            return
    raise ArtifactError(path, f"{problem}: dvc was stopped while it wrote the file, or the disk was full", hint)


def _find_rwlock_problem(path: Path) -> str:
    """What is wrong with DVC's list of the paths that are being read and written; "" for nothing."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ""
    except (ValueError, RecursionError):
        return f"{path.stat().st_size:,} bytes that are not valid JSON"
    is_intact = isinstance(content, dict) and content.keys() <= {"read", "write"}
    is_intact = is_intact and all(isinstance(paths, dict) for paths in content.values())
    if not is_intact or not all(map(_is_holder, content.get("write", {}).values())):
        return "not of DVC's form"
    readers = content.get("read", {}).values()
    return "" if all(isinstance(row, list) and all(map(_is_holder, row)) for row in readers) else "not of DVC's form"


def _is_holder(info: Any) -> bool:
    return isinstance(info, dict) and type(info.get("pid")) is int and isinstance(info.get("cmd"), str)


def _find_lock_problem(path: Path) -> str:
    """What is wrong with dvc.lock; "" for nothing."""
    try:
        content = yaml_reader.read_yaml(path)
    except ConfigError as error:
        return str(error).removeprefix(f"{path}: ")
    is_intact = isinstance(content, dict) and "schema" in content and isinstance(content.get("stages"), dict)
    return "" if is_intact else "lacks its schema or its stages"
