"""README.md and docs/: the commands run, and the predictor on the page is scored and not reported"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from tests.helpers import doc_pages, tiny_project
from tests.helpers.tiny_corpus import ROOT

RUNNABLE_BLOCKS = [block for block in doc_pages.list_shell_blocks() if block.not_run is None]
QUICKSTART_SNIPPETS = re.findall(r"```python\n(.*?)```", doc_pages.read_page("docs/quickstart.md"), re.DOTALL)
SETTINGS = re.search(r"```yaml\n(.*?)```", doc_pages.read_page("docs/evaluation-rules.md"), re.DOTALL)


@pytest.mark.parametrize("block", RUNNABLE_BLOCKS, ids=lambda block: block.page)
def test_a_block_of_commands_runs_in_a_finished_project(finished_run, tmp_path, block):
    project = tiny_project.copy_project(finished_run, tmp_path / "project")
    if "dvc " in block.text:
        tiny_project.git(project, "init", "--quiet")
        tiny_project.dvc(project, "commit", "--force")
    run_shell(project, block.text)


def test_the_python_of_the_quick_start_runs_in_a_finished_project(finished_run, tmp_path):
    project = tiny_project.copy_project(finished_run, tmp_path / "project")
    run_shell(project, "golf export --format safetensors exported")
    assert [snippet.partition("\n")[0] for snippet in QUICKSTART_SNIPPETS] == ["import golf", "import json"]
    for snippet in QUICKSTART_SNIPPETS:
        output = tiny_project.run_command(project, sys.executable, "-c", snippet).stdout
        assert re.search(r"bits per byte|\d layers", output), output
    assert len([line for line in QUICKSTART_SNIPPETS[1].splitlines() if line]) == 10, (
        "plain torch loads it in ten lines"
    )


def run_shell(project: Path, text: str) -> None:
    """Run shell commands, each of which must succeed."""
    script = f'golf() {{ "{sys.executable}" -m golf "$@"; }}\n{text}'  # this interpreter's, installed or not
    tiny_project.run_command(project, "bash", "-euo", "pipefail", "-c", script)


@pytest.mark.parametrize("command", ["python -m tools.docs --check", "python -m tools.dvc_deps --check"])
def test_the_generated_files_of_the_repository_pass_the_check_of_their_tool(command):
    subprocess.run([sys.executable, *command.split()[1:]], cwd=ROOT, check=True)


def test_the_example_predictor_of_the_page_is_scored_and_not_reported(finished_run, tmp_path, monkeypatch):
    project = tiny_project.copy_project(finished_run, tmp_path / "project")
    monkeypatch.chdir(project)
    (project / "mine").mkdir()
    shutil.copy(ROOT / "tests/helpers/example_predictor.py", project / "mine" / "bigram.py")
    counts = np.random.default_rng(0).random((320, 320), dtype=np.float32)
    np.save("mine/bigram.npy", np.log(counts / counts.sum(axis=1, keepdims=True, dtype=np.float32)))
    settings = YAML(typ="safe").load(SETTINGS[1])["evaluate"]
    tiny_project.set_params(project, {f"evaluate.{key}": value for key, value in settings.items()})
    tiny_project.set_params(project, {"compress.limit_bytes": 1_000_000})
    tiny_project.git(project, "init", "--quiet")
    tiny_project.dvc(project, "commit", "--force")

    run_shell(project, "dvc repro fetch && python -m stages.evaluate && golf verdict")

    verdict = io.read_json("artifacts/evaluate/verdict.json")
    assert [row["check"] for row in verdict["checks"] if row["status"] in ("FAIL", "UNRULED")] == []
    assert verdict["verdict"].startswith("NOT-RUN: ")
    assert "C1-e" in verdict["verdict"]
    assert "C3-f" in verdict["verdict"]
    assert verdict["track"].startswith("A")
