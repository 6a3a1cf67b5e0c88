"""tools/dvc_deps.py: dvc.yaml names each module that a stage imports."""

import shutil

import pytest

from tests.helpers.tiny_corpus import ROOT
from tools import ci, dvc_deps


def test_every_stage_declares_every_module_that_it_imports(monkeypatch):
    monkeypatch.chdir(ROOT)
    declared = dvc_deps.parse_declared_deps(dvc_deps.DVC_FILE.read_text(encoding="utf-8"))
    assert list(declared) == list(ci.load_stages(ROOT))
    dvc_deps.main(["--check"])


def test_an_undeclared_import_is_named_and_written(tmp_path, monkeypatch):
    for package in ("golf", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    text = dvc_deps.DVC_FILE.read_text(encoding="utf-8")
    dvc_deps.DVC_FILE.write_text(text.replace("      - golf/training/muon.py\n", ""), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"train: missing \['golf/training/muon\.py'\]"):
        dvc_deps.main(["--check"])
    dvc_deps.main([])
    assert dvc_deps.DVC_FILE.read_text(encoding="utf-8") == text
