"""A killed stage resumes with the same command and ends with the result of an uninterrupted run."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML, YAMLError

from golf.artifacts import io as artifacts_io
from tests.helpers import tiny_project

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
N_KILLS = 30
PROBE_SEED = {"GOLF_PROBE_SEED": "0a1b"}  # so that the proof looks at the same places each time
LONG_TRAINING = {"train.steps": 60, "train.resume_save_s": 0.2}
TWO_RANKS = {f"{stage}.ranks": 2 for stage in ("train", "calibrate")}
NOT_COMPARED = ("run.json", "timing.json", "evaluation_log.jsonl", "verdict.json")  # times, machines, past evaluations


def start(folder: Path, stage: str, launcher: str) -> subprocess.Popen:
    """Start a stage as a terminal does. launcher: "dvc" or "bare"."""
    command = [sys.executable, "-m", f"stages.{stage}"]
    if launcher == "dvc":
        command = [tiny_project.DVC_EXECUTABLE, "repro", "--force", "--single-item", stage]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=tiny_project.isolated_env(folder) | PROBE_SEED,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def list_processes(folder: Path) -> list[psutil.Process]:
    """Every process that works in this folder."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def wait_until(condition, message: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s  # ends a test that hangs; measures nothing
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


def kill(folder: Path, stage: str, launcher: str, number: int, after_s: float, target: str) -> bool:
    """Start a stage and send it a signal after some seconds; returns whether it was still at work.

    target: "started" (the process that was started), "group" (all of them) or "child".
    """
    with start(folder, stage, launcher) as process:
        try:
            process.wait(timeout=after_s)
            return False
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
        if target == "group":
            os.killpg(process.pid, number)
        else:
            os.kill(children[-1].pid if target == "child" and children else process.pid, number)
        if number == signal.SIGINT and target != "group":  # DVC waits for its stage, and a child may ignore it
            wait_until(lambda: process.poll() is not None, f"{stage} ignores SIGINT")
        process.communicate(timeout=60)
    wait_until(lambda: not list_processes(folder), f"orphans of {stage}: {list_processes(folder)}")
    return True


def read_results(folder: Path, stage: str) -> dict[str, object]:
    """What a stage wrote, without its times: the bytes of files, the values of tables and JSON."""
    files = sorted((folder / "artifacts" / stage).rglob("*"))
    return {
        path.relative_to(folder).as_posix(): read_timeless(path)
        for path in files
        if path.is_file() and path.name not in NOT_COMPARED and path.name != ".gitignore"
    }


def read_timeless(path: Path):
    if path.suffix == ".json":
        return drop_times(json.loads(path.read_bytes()))
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        return [drop_times(row) for row in rows]
    return path.read_bytes()


def drop_times(tree):
    if isinstance(tree, dict):
        return {key: drop_times(value) for key, value in tree.items() if "second" not in key}
    return [drop_times(item) for item in tree] if isinstance(tree, list) else tree


def list_leftovers(folder: Path) -> list[str]:
    """Locks and partial files of stages. DVC's own lock files stay, and block nothing."""
    return [name for name in tiny_project.list_files(folder) if name.endswith(".partial") or name.startswith("runs/")]


def finish(folder: Path, stage: str, launcher: str) -> str:
    """Run a stage to its end; returns its stderr."""
    with start(folder, stage, launcher) as process:
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return stderr


def restore_lock(folder: Path, lock: bytes) -> None:
    """DVC writes dvc.lock in place, so a kill at that moment truncates it; users run git checkout dvc.lock."""
    try:
        is_whole = "schema" in YAML(typ="safe", pure=True).load((folder / "dvc.lock").read_text(encoding="utf-8"))
    except (TypeError, ValueError, YAMLError):
        is_whole = False
    if not is_whole:
        (folder / "dvc.lock").write_bytes(lock)


@pytest.fixture
def project_dir(finished_run, tmp_path):
    """A copy of the finished run, ready for DVC, whose training is long enough to be killed in the middle."""
    folder = tiny_project.copy_project(finished_run, tmp_path / "project")
    tiny_project.set_params(folder, LONG_TRAINING)
    tiny_project.git(folder, "init", "--quiet")
    return folder


def test_killed_training_resumes_and_ends_with_the_same_bits(finished_run, tmp_path):
    folder = tiny_project.copy_project(finished_run, tmp_path / "project")
    tiny_project.set_params(folder, {"train.steps": 30, "train.resume_save_s": 0.05})
    finish(folder, "train", "bare")
    expected = read_results(folder, "train")
    with start(folder, "train", "bare") as process:
        wait_until(lambda: [*folder.glob("runs/train/*/step_*/complete.json")], "no state was saved")
        process.kill()
    assert "resuming from step" in finish(folder, "train", "bare")
    assert read_results(folder, "train") == expected
    assert list_leftovers(folder) == []


@pytest.mark.soak
@pytest.mark.parametrize("ranks", [1, 2])
def test_stage_killed_at_any_moment_ends_with_the_same_bits(project_dir, ranks):
    if ranks == 2:
        tiny_project.set_params(project_dir, TWO_RANKS)
    rng = random.Random(ranks)
    seconds, expected = {}, {}
    for stage in tiny_project.STAGES:
        for launcher in ("bare", "dvc"):
            started_at = time.monotonic()
            finish(project_dir, stage, launcher)
            seconds[stage, launcher] = time.monotonic() - started_at
        expected[stage] = read_results(project_dir, stage)
    n_stages = len(tiny_project.STAGES)
    stages = [tiny_project.STAGES[number % n_stages] for number in range(N_KILLS // 2 - 4)] + ["train"] * 4
    for number, stage in enumerate(stages):
        was_at_work, lock = False, (project_dir / "dvc.lock").read_bytes()
        while not was_at_work:
            launcher = rng.choice(["dvc", "bare"])
            target = rng.choice(["started", "group", "child"])
            after_s = rng.uniform(0.3, 1.0) * seconds[stage, launcher]
            was_at_work = kill(project_dir, stage, launcher, SIGNALS[number % 3], after_s, target)
        restore_lock(project_dir, lock)
        case = f"{number}: {stage} {launcher}, {SIGNALS[number % 3].name} to {target} after {after_s:.2f} s"
        finish(project_dir, stage, launcher)
        assert read_results(project_dir, stage) == expected[stage], case
        assert list_leftovers(project_dir) == [], case
        assert list_processes(project_dir) == [], case
    assert artifacts_io.read_json(project_dir / "artifacts/train/metrics.json")["steps"] == 60
