"""benchmarks/gpu_check.py: each step has a time limit, a step without time is NOT-RUN, and no process is left"""

import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.programs import wait_and_exit
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_check
from gpu_check import CheckStep


def waiting_step(name: str, seconds: int, exit_code: int, *files: Path, limit_s: float = 30) -> CheckStep:
    return CheckStep(name, tuple(map(str, (wait_and_exit.__file__, seconds, exit_code, *files))), limit_s)


def test_a_steps_status_tells_success_failure_timeout_and_no_time_left(capfd):
    planned = [
        waiting_step("good", 0, 0),
        waiting_step("bad", 0, 3),
        waiting_step("slow", 60, 0, limit_s=0.5),
    ]
    rows = gpu_check.run_steps(planned, seconds=60)
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("ok", ""),
        ("failed", "exit code 3"),
        ("NOT-RUN", "exceeded its limit of 0.5 s"),
    ]
    assert gpu_check.run_steps(planned[:1], seconds=0.5)[0] == {"name": "good"} | gpu_check.NO_TIME_LEFT
    assert capfd.readouterr().out.count("NOT-RUN") == 2


def test_a_step_that_exceeds_its_limit_is_killed_with_its_children(tmp_path):
    gpu_check.run_step(waiting_step("parent", 60, 0, tmp_path / "pid"), limit_s=3)
    child, end = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_every_step_is_a_file_of_the_repository_and_writes_under_the_machines_name(tmp_path):
    planned = gpu_check.plan_steps("nvidia-h200", tmp_path)
    for step in planned:
        for name in (argument for argument in step.arguments if argument.endswith((".py", ".yaml"))):
            assert (ROOT / name.removeprefix("--ignore=")).is_file(), name
    written = [step.arguments[-1] for step in planned if "--json" in step.arguments]
    assert written == [str(tmp_path / f"{name}.record.nvidia-h200.json") for name in ("train_step", "evaluation")]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    if gpu_check.torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu_check.main() == 2
    assert "torch finds no GPU" in capsys.readouterr().err
