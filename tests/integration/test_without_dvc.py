"""Stages run where DVC is not installed: nothing in golf or stages imports it"""

import subprocess
import sys

from tests.helpers.tiny_corpus import ROOT

BLOCKED = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dvc", "dvc_data", "dvc_objects", "scmrepo"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(name)
try:
    import dvc.api
except ModuleNotFoundError:
    print("absent")
"""


def test_every_module_and_every_stage_imports_without_dvc():
    files = sorted((*(ROOT / "golf").rglob("*.py"), *(ROOT / "stages").glob("*.py")))
    names = [f.relative_to(ROOT).as_posix()[:-3].removesuffix("/__init__").replace("/", ".") for f in files]
    command = [sys.executable, "-B", "-c", BLOCKED, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "absent\n"), done.stderr
