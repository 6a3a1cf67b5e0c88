"""Whatever kills a stage, the same command goes on, and its result is that of a run that nobody killed."""

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
KILLS = 30
SECRET = {"GOLF_SECRET": "0a1b"}  # else the probes look elsewhere each time
LONG = {"train.steps": 60, "train.resume_save_s": 0.2}
TWO = {f"{stage}.ranks": 2 for stage in ("train", "calibrate")}
LEFT = ("run.json", "clock.json", "executions.jsonl", "verdict.json")  # of times, machines and evaluations broken off


def start(folder: Path, stage: str, how: str) -> subprocess.Popen:
    """A stage as a terminal starts it. how: under DVC, or bare."""
    command = [sys.executable, "-m", f"stages.{stage}"]
    if how == "dvc":
        command = [tiny_project.DVC_EXECUTABLE, "repro", "--force", "--single-item", stage]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=tiny_project.isolated_env(folder) | SECRET,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def family(folder: Path) -> list[psutil.Process]:
    """Every process that works in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(happened, what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds  # a guard against waiting for ever, not a measurement
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def kill(folder: Path, stage: str, how: str, number: int, after: float, whom: str) -> bool:
    """Start a stage and end it after so many seconds; whether it was still at work. whom: the process that was
    started, all of them, or a child.
    """
    with start(folder, stage, how) as process:
        try:
            process.wait(timeout=after)
            return False
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
        if whom == "group":
            os.killpg(process.pid, number)
        else:
            os.kill(children[-1].pid if whom == "child" and children else process.pid, number)
        if number == signal.SIGINT and whom != "group":  # DVC waits for its stage, and a child alone may not hear it
            wait_until(lambda: process.poll() is not None, f"{stage} hears no SIGINT")
        process.communicate(timeout=60)
    wait_until(lambda: not family(folder), f"orphans of {stage}: {family(folder)}")
    return True


def results(folder: Path, stage: str) -> dict[str, object]:
    """What a stage left, without its times: bytes of files, values of tables and JSON."""
    files = sorted((folder / "artifacts" / stage).rglob("*"))
    return {
        path.relative_to(folder).as_posix(): timeless(path)
        for path in files
        if path.is_file() and path.name not in LEFT and path.name != ".gitignore"
    }


def timeless(path: Path):
    if path.suffix == ".json":
        return without_times(json.loads(path.read_bytes()))
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        return [without_times(row) for row in rows]
    return path.read_bytes()


def without_times(tree):
    if isinstance(tree, dict):
        return {key: without_times(value) for key, value in tree.items() if "second" not in key}
    return [without_times(each) for each in tree] if isinstance(tree, list) else tree


def leftovers(folder: Path) -> list[str]:
    """Locks of ours and half-written files; DVC's own lock files stay where they are, and hold nobody."""
    return [name for name in tiny_project.list_files(folder) if name.endswith(".partial") or name.startswith("runs/")]


def finish(folder: Path, stage: str, how: str) -> str:
    with start(folder, stage, how) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def mended(folder: Path, lock: bytes) -> None:
    """DVC writes dvc.lock in place, so that a kill in that moment cuts it short: git checkout dvc.lock (README)."""
    try:
        whole = "schema" in YAML(typ="safe", pure=True).load((folder / "dvc.lock").read_text(encoding="utf-8"))
    except (TypeError, ValueError, YAMLError):
        whole = False
    if not whole:
        (folder / "dvc.lock").write_bytes(lock)


@pytest.fixture
def project_dir(finished_run, tmp_path):
    """A copy of the finished run whose training is long enough to be killed in the middle; ready for DVC."""
    folder = tiny_project.copy_project(finished_run, tmp_path / "place")
    tiny_project.set_params(folder, LONG)
    tiny_project.git(folder, "init", "--quiet")
    return folder


def test_training_that_is_killed_goes_on_and_ends_in_the_same_bits(finished_run, tmp_path):
    folder = tiny_project.copy_project(finished_run, tmp_path / "place")
    tiny_project.set_params(folder, {"train.steps": 30, "train.resume_save_s": 0.05})
    finish(folder, "train", "bare")
    whole = results(folder, "train")
    with start(folder, "train", "bare") as process:
        wait_until(lambda: [*folder.glob("runs/train/*/step_*/complete.json")], "no state was kept")
        process.kill()
    assert "resuming from step" in finish(folder, "train", "bare")
    assert results(folder, "train") == whole
    assert leftovers(folder) == []


@pytest.mark.soak
@pytest.mark.parametrize("ranks", [1, 2])
def test_whatever_is_killed_and_when_the_same_command_ends_in_the_same_bits(project_dir, ranks):
    if ranks == 2:
        tiny_project.set_params(project_dir, TWO)
    dice = random.Random(ranks)
    spans, wholes = {}, {}
    for stage in tiny_project.STAGES:
        for how in ("bare", "dvc"):
            began = time.monotonic()
            finish(project_dir, stage, how)
            spans[stage, how] = time.monotonic() - began
        wholes[stage] = results(project_dir, stage)
    plan = [tiny_project.STAGES[number % len(tiny_project.STAGES)] for number in range(KILLS // 2 - 4)] + ["train"] * 4
    for number, stage in enumerate(plan):
        hit, lock = False, (project_dir / "dvc.lock").read_bytes()
        while not hit:  # a moment after the end is none
            how = dice.choice(["dvc", "bare"])
            whom = dice.choice(["started", "group", "child"])
            after = dice.uniform(0.3, 1.0) * spans[stage, how]
            hit = kill(project_dir, stage, how, SIGNALS[number % 3], after, whom)
        mended(project_dir, lock)
        what = f"{number}: {stage} {how}, {SIGNALS[number % 3].name} to {whom} after {after:.2f} s"
        finish(project_dir, stage, how)
        assert results(project_dir, stage) == wholes[stage], what
        assert leftovers(project_dir) == [], what
        assert family(project_dir) == [], what
    assert artifacts_io.read_json(project_dir / "artifacts/train/metrics.json")["steps"] == 60
