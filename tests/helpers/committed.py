"""What the last commit holds, whatever a run has changed in the working tree.

dvc.lock and params.yaml come from Git's HEAD, and the artifacts that the lock names from the DVC remote inside the
repository. A test that needs them is skipped in a folder without Git.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helpers.tiny_corpus import ROOT

REMOTE = ROOT / ".ci/remote/files/md5"
PUSH_COMMAND = "dvc push -r ci $(python -m tools.ci push)"


def read_text(path: str) -> str:
    """A file of the last commit; skips the test where there is none."""
    command = ["git", "-C", str(ROOT), "show", f"HEAD:./{path}"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git, to read what is committed")
    if completed.returncode:
        pytest.skip(f"needs {path} of the last commit: {completed.stderr.strip()}")
    return completed.stdout


def read_yaml(path: str) -> dict[str, Any]:
    """A YAML file of the last commit; skips the test where there is none."""
    return YAML(typ="safe", pure=True).load(read_text(path))


def locked_md5s() -> dict[str, str]:
    """The md5 of each output of the committed run, by its path in dvc.lock; a folder's ends in .dir."""
    stages = read_yaml("dvc.lock")["stages"].values()
    return {row["path"]: row["md5"] for stage in stages for row in stage["outs"]}


def materialize(path: str, folder: Path) -> Path:
    """Copy a committed artifact, a file or a folder, from the remote to ``folder``/``path``; returns that path."""
    outs = locked_md5s()
    target = folder / path
    if path in outs and outs[path].endswith(".dir"):
        for row in _list_folder(outs[path], path):
            _copy(row["md5"], f"{path}/{row['relpath']}", target / row["relpath"])
    else:
        _copy(find_md5(path, outs), path, target)
    return target


def find_md5(path: str, outs: dict[str, str]) -> str:
    """The md5 of an output, or of a file inside an output that is a folder."""
    if path in outs:
        return outs[path]
    parent = next((out for out in outs if path.startswith(f"{out}/")), None)
    assert parent is not None, f"dvc.lock of the last commit has no {path}; run dvc repro and commit dvc.lock"
    return next(row["md5"] for row in _list_folder(outs[parent], parent) if f"{parent}/{row['relpath']}" == path)


def is_in_remote(md5: str) -> bool:
    """Whether the remote has an object and, if that is a folder, all its files."""
    if not _object_path(md5).is_file():
        return False
    return not md5.endswith(".dir") or all(is_in_remote(row["md5"]) for row in _list_folder(md5, md5))


def _list_folder(md5: str, path: str) -> list[dict[str, str]]:
    return json.loads(_require_object(md5, path).read_text(encoding="utf-8"))


def _copy(md5: str, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_require_object(md5, path), target)


def _require_object(md5: str, path: str) -> Path:
    assert _object_path(md5).is_file(), f".ci/remote lacks {path} of the committed run; run: {PUSH_COMMAND}"
    return _object_path(md5)


def _object_path(md5: str) -> Path:
    return REMOTE / md5[:2] / md5[2:]
