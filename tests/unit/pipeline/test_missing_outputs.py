"""golf/pipeline/missing_outputs.py: the message about a stage's missing output ends with what makes it"""

from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli.main import main
from golf.compression import reader
from golf.data import shard_file
from golf.errors import ArtifactError, GolfError, InputError
from golf.pipeline import missing_outputs


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "hint", "stage"),
    [
        ("artifacts/evaluate/verdict.json", io.RERUN_HINT, "evaluate"),
        (Path("artifacts/compress/model.golf"), reader.RERUN_HINT, "compress"),
        ("artifacts/fetch/train/index.json", shard_file.RERUN_HINT, "fetch"),
        ("../other/artifacts/ttt", io.RERUN_HINT, "ttt"),
        ("artifacts/train/model.safetensors", "evaluate.artifact must name the file", "train"),
    ],
)
def test_a_missing_output_names_the_stage_that_makes_it(path, hint, stage):
    message = missing_outputs.describe_error(ArtifactError(path, "not found", hint))
    assert message == f"{path}: not found; {hint}; if the cache lacks it: dvc repro {stage}"


@pytest.mark.parametrize(
    "error",
    [
        ArtifactError("artifacts/train/there", "damaged; twice", io.RERUN_HINT),
        ArtifactError("artifacts/train/log.csv of experiment one", "not found", io.RERUN_HINT),
        ArtifactError("runs/model.golf", "not found", io.RERUN_HINT),
        ArtifactError("artifacts/plots/a.png", "not found", io.RERUN_HINT),
        InputError("artifacts/train/model.safetensors: not found; dvc checkout"),
        GolfError("no luck"),
    ],
)
def test_any_other_message_stays(error):
    Path("artifacts/train").mkdir(parents=True)
    Path("artifacts/train/there").touch()
    assert missing_outputs.describe_error(error) == str(error)


@pytest.mark.parametrize(
    ("arguments", "path", "hint", "stage"),
    [
        (["verdict"], "artifacts/evaluate/verdict.json", io.RERUN_HINT, "evaluate"),
        (["bundle"], "artifacts/compress/sizes.json", io.RERUN_HINT, "compress"),
        (["sample"], "artifacts/compress/model.golf", reader.RERUN_HINT, "compress"),
    ],
)
def test_a_command_on_a_fresh_clone_says_what_makes_its_input(capsys, arguments, path, hint, stage):
    assert main(arguments) == 1
    expected = f"golf {arguments[0]}: {path}: not found; {hint}; if the cache lacks it: dvc repro {stage}\n"
    assert capsys.readouterr().err == expected


def test_a_lineage_of_nothing_names_what_makes_artifacts(capsys):
    assert main(["lineage", "artifacts/compress/model.golf"]) == 1
    hint = "name an artifact (make them with: dvc repro) or a split folder"
    assert capsys.readouterr().err == f"golf lineage: artifacts/compress/model.golf: not found; {hint}\n"
