"""Stages run where DVC is not installed: no module of golf or stages imports it."""

import os
import sys

from tests.helpers import forkserver
from tests.helpers.tiny_corpus import ROOT

PROGRAM = ROOT / "tests/helpers/programs/import_without_dvc.py"


def test_every_module_and_stage_imports_without_dvc():
    files = sorted((*(ROOT / "golf").rglob("*.py"), *(ROOT / "stages").glob("*.py")))
    names = [f.relative_to(ROOT).as_posix()[:-3].removesuffix("/__init__").replace("/", ".") for f in files]
    command = [sys.executable, "-B", str(PROGRAM), *names]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    completed = forkserver.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (completed.returncode, completed.stdout) == (0, "not installed\n"), completed.stderr
