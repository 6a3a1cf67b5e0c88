import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from test_verdict import given_

from golf.__main__ import main
from golf.ground import lineage, store
from golf.looking import stale
from golf.rules import verdict

ARTIFACT = Path("artifacts/compress/model.golf")


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A folder with an artifact and the verdict on it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "profiles/laptop.yaml", "params.yaml")
    store.write_bytes(ARTIFACT, b"a model")
    store.write_json(verdict.FILE, given_().tree() | {"artifact": lineage.file_digest(ARTIFACT)})


def test_a_verdict_on_another_artifact_than_the_one_there_now_says_so_and_is_not_strictly_valid(judged, capsys):
    assert stale.remark() == ""
    assert main(["check", "--strict"]) == 0
    store.write_bytes(ARTIFACT, b"another model")
    assert stale.remark().startswith(f"NOT of the artifact that is there now: {ARTIFACT} is ")
    capsys.readouterr()
    assert main(["check"]) == 0
    assert stale.remark() in capsys.readouterr().out
    assert main(["check", "--strict"]) == 1


@pytest.mark.parametrize("path", [ARTIFACT, "params.yaml", verdict.FILE])
def test_without_artifact_parameters_or_verdict_there_is_nothing_to_remark(judged, path):
    store.write_bytes(ARTIFACT, b"another model")
    Path(path).unlink()
    assert stale.remark() == ""
