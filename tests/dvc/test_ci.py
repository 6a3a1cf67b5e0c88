"""The steps of the CI workflow, taken from its own text, in fresh clones."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.evaluation import ledger
from tests.helpers import committed, committed_checks, tiny_project
from tests.helpers.tiny_corpus import ROOT

WORKFLOW = ROOT / ".github/workflows/ci.yml"
METRICS = "artifacts/evaluate/metrics.json"


def list_steps(job: str) -> list[str]:
    """The shell commands of a job, without the installation: tests run with what is installed."""
    workflow = YAML(typ="safe").load(WORKFLOW)
    commands = [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]
    return [command for command in commands if "make .venv/.ready" not in command]


def run_evaluate_job(clone: Path, runner_temp: Path) -> list[str]:
    """Run the job's commands in a clone; returns the output of each."""
    runner_temp.mkdir()
    return [
        tiny_project.run_command(clone, "bash", "-e", "-c", command, RUNNER_TEMP=str(runner_temp)).stdout
        for command in list_steps("evaluate")
    ]


def test_jobs_run_the_gate_and_every_directory_of_tests():
    assert list_steps("test") == ["make test"]
    matrix = YAML(typ="safe").load(WORKFLOW)["jobs"]["part"]["strategy"]["matrix"]["directory"]
    directories = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert {*matrix} == directories - {"smoke", "gpu"}  # the gate runs smoke, and of unit what is not slow


@pytest.fixture(scope="module")
def origin(finished_run, tmp_path_factory):
    """The finished run as a commit, whose remote holds what CI needs."""
    folder = tiny_project.copy_project(finished_run, tmp_path_factory.mktemp("ci") / "origin")
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "commit", "--force")
    tiny_project.run_command(folder, "bash", "-ec", committed.PUSH_COMMAND)
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "the finished run")
    return folder


def test_smoke_test_passes_after_the_push_and_fails_on_another_ledger(origin, tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "ROOT", origin)
    monkeypatch.setattr(committed, "REMOTE", origin / ".ci/remote/files/md5")
    committed_checks.check_remote()
    committed_checks.check_plain_scores(tmp_path / "same")
    read = ledger.read

    def read_shifted(path):
        rows, meta = read(path)
        return dataclasses.replace(rows, nll=rows.nll + 0.01), meta

    monkeypatch.setattr(ledger, "read", read_shifted)
    with pytest.raises(AssertionError):
        committed_checks.check_plain_scores(tmp_path / "shifted")


def test_fresh_clone_evaluates_the_pushed_artifact_without_training(origin, tmp_path):
    tiny_project.git(tmp_path, "clone", "--quiet", str(origin), "clone")
    clone, runner_temp = tmp_path / "clone", tmp_path / "runner"
    assert not (clone / "artifacts/fetch/train").exists()

    *_, comparison, verdict = run_evaluate_job(clone, runner_temp)

    assert "figures agree" in comparison
    assert " 0 FAIL, " in verdict
    assert tiny_project.list_files(clone / "artifacts/fetch/train") == ["index.json"]
    assert not (clone / "artifacts/train/model.safetensors").exists()
    metrics = io.read_json(clone / METRICS)
    io.write_json(clone / METRICS, metrics | {"val_bpb_plain": metrics["val_bpb_plain"] + 0.01})
    compare_command = list_steps("evaluate")[-2]
    output = tiny_project.run_command(
        clone, "bash", "-e", "-c", compare_command, exit_code=1, RUNNER_TEMP=str(runner_temp)
    ).stdout
    assert "val_bpb_plain" in output
    assert "+0.01" in output


def test_step_that_compares_the_lock_fails_after_an_edit_of_the_params(origin, tmp_path):
    tiny_project.git(tmp_path, "clone", "--quiet", str(origin), "clone")
    clone, plan_command = tmp_path / "clone", list_steps("evaluate")[0]
    assert "--dry" in plan_command

    def run_step(exit_code):
        command = ("bash", "-e", "-c", plan_command)
        return tiny_project.run_command(clone, *command, exit_code=exit_code, RUNNER_TEMP=str(tmp_path)).stdout

    assert "Running stage" not in run_step(exit_code=0)
    tiny_project.set_params(clone, {"fetch.shard_tokens": 3000})
    assert "Running stage 'fetch'" in run_step(exit_code=1)


@pytest.mark.slow
def test_committed_artifact_evaluated_whole_gives_the_committed_scores(tmp_path):
    committed.read_yaml("dvc.lock")  # skips where nothing is committed
    tiny_project.git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{ROOT}", "clone")
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / ".ci/remote", clone / ".ci/remote", dirs_exist_ok=True)
    run_evaluate_job(clone, tmp_path / "runner")


def test_remote_named_in_the_workflow_is_the_configured_one():
    config = (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert re.search(r"\['remote \"ci\"'\]\s+url = \.\./\.ci/remote\n", config)
    assert any("dvc pull -r ci" in command for command in list_steps("evaluate"))
