"""golf/errors.py: the message about a stage's output names the stage that makes it"""

from pathlib import Path

import pytest

from golf.cli.main import main
from golf.errors import ArtifactError


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("artifacts/evaluate/verdict.json", "evaluate"),
        (Path("artifacts/compress/model.golf"), "compress"),
        ("artifacts/fetch/train/index.json", "fetch"),
        ("../other/artifacts/ttt", "ttt"),
    ],
)
def test_an_error_about_a_stages_output_names_what_makes_it(path, stage):
    error = ArtifactError(path, "not found")
    assert str(error) == f"{path}: not found; restore it or make it again with: dvc repro {stage}"
    assert error.problem == "not found"


@pytest.mark.parametrize(
    "path",
    ["artifacts/train/log.csv of experiment one", "runs/model.golf", "artifacts/plots/a.png", "artifacts/prove/b"],
)
def test_an_error_about_another_file_has_no_hint_of_its_own(path):
    assert str(ArtifactError(path, "not found")) == f"{path}: not found"


def test_a_given_hint_stands_instead_even_none_at_all():
    assert str(ArtifactError("artifacts/train/a", "damaged", "give up")) == "artifacts/train/a: damaged; give up"
    assert str(ArtifactError("artifacts/train/a", "damaged", "")) == "artifacts/train/a: damaged"


@pytest.mark.parametrize(
    ("arguments", "path", "stage"),
    [
        (["verdict"], "artifacts/evaluate/verdict.json", "evaluate"),
        (["bundle"], "artifacts/compress/sizes.json", "compress"),
        (["sample"], "artifacts/compress/model.golf", "compress"),
        (["inspect", "artifacts/train/model.safetensors"], "artifacts/train/model.safetensors", "train"),
    ],
)
def test_a_command_on_a_fresh_clone_says_what_makes_its_input(tmp_path, monkeypatch, capsys, arguments, path, stage):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    repair = f"restore it or make it again with: dvc repro {stage}"
    assert capsys.readouterr().err == f"golf {arguments[0]}: {path}: not found; {repair}\n"


def test_a_lineage_of_nothing_names_what_makes_the_artifact(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lineage", "artifacts/compress/model.golf"]) == 1
    problem = "not found: it must be an artifact or a split folder"
    repair = "restore it or make it again with: dvc repro compress"
    assert capsys.readouterr().err == f"golf lineage: artifacts/compress/model.golf: {problem}; {repair}\n"
