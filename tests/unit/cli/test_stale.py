import shutil
from pathlib import Path

import pytest

from golf.artifacts import io, lineage
from golf.cli import stale
from golf.cli.main import main
from golf.compliance import verdict
from tests.helpers.tiny_corpus import ROOT
from tests.unit.compliance.test_verdict import given_

ARTIFACT = Path("artifacts/compress/model.golf")


@pytest.fixture
def project_with_verdict(tmp_path, monkeypatch):
    """A folder with an artifact and the verdict on it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "profiles/laptop.yaml", "params.yaml")
    io.write_bytes(ARTIFACT, b"a model")
    io.write_json(verdict.VERDICT_PATH, given_().to_dict() | {"artifact": lineage.artifact_sha256(ARTIFACT)})


def test_a_verdict_on_another_artifact_than_the_one_there_now_says_so_and_is_not_strictly_valid(
    project_with_verdict, capsys
):
    assert stale.format_stale_warning() == ""
    assert main(["check", "--strict"]) == 0
    io.write_bytes(ARTIFACT, b"another model")
    assert stale.format_stale_warning().startswith(f"NOT of the artifact that is there now: {ARTIFACT} is ")
    capsys.readouterr()
    assert main(["check"]) == 0
    assert stale.format_stale_warning() in capsys.readouterr().out
    assert main(["check", "--strict"]) == 1


@pytest.mark.parametrize("path", [ARTIFACT, "params.yaml", verdict.VERDICT_PATH])
def test_without_artifact_parameters_or_verdict_there_is_nothing_to_remark(project_with_verdict, path):
    io.write_bytes(ARTIFACT, b"another model")
    Path(path).unlink()
    assert stale.format_stale_warning() == ""
