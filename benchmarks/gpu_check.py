"""make gpu-check: on a machine with a GPU, its tests and then the benchmarks, each within its time. No DVC is needed.

Writes results/gpu_check.<machine>.json, a row a step, and what the steps themselves write beside it. A step that no
time was left for, or that outlasted its own, is NOT-RUN. Exit code 0: every step ran and ended well.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import hardware
import torch

from golf.artifacts import io

BENCHMARKS_DIR = Path(__file__).parent
RESULTS_DIR = BENCHMARKS_DIR / "results"
RECORD_PROFILE_ARGS = ("--profile", "profiles/record.yaml")
GPU_ARGS = ("--device", "cuda", "--dtype", "bfloat16")
OTHER_TESTS = tuple(  # by name: other test files need packages that this machine may lack
    f"tests/test_{name}.py" for name in ("attention", "compiled", "gpu_stages", "loader")
)
NO_TIME_LEFT = {"status": "NOT-RUN", "seconds": 0.0, "why": "no time was left"}


@dataclass(frozen=True)
class CheckStep:
    """A command of this Python, and the seconds that it may take."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480, help="for everything (480)")
    parser.add_argument("--results", type=Path, default=RESULTS_DIR, help="folder for the figures (%(default)s)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU here; make test is for machines without one", file=sys.stderr)
        return 2
    machine = hardware.describe_machine(torch.device("cuda"))
    rows = run_steps(plan_steps(machine["slug"], args.results), args.seconds)
    io.write_json(args.results / f"gpu_check.{machine['slug']}.json", machine | {"steps": rows})
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def plan_steps(machine_slug: str, results_dir: Path) -> list[CheckStep]:
    """The model's tests and the step's speed come first: they say most."""

    def benchmark(script: str, file: str, *arguments: str, limit_s: float) -> CheckStep:
        json_path = str(results_dir / f"{file}.{machine_slug}.json")
        return CheckStep(file, (str(BENCHMARKS_DIR / script), *arguments, "--json", json_path), limit_s)

    # Another release of torch than the pinned one warns of other things, which are no errors here.
    pytest_args = ("-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider")
    return [
        CheckStep("tests of the model", (*pytest_args, "tests/gpu/test_model.py"), 180),
        benchmark("train_step.py", "train_step.record", *RECORD_PROFILE_ARGS, "--turns", "2", limit_s=220),
        CheckStep("other tests", (*pytest_args, *OTHER_TESTS), 150),
        benchmark("evaluation.py", "evaluation.record", *RECORD_PROFILE_ARGS, *GPU_ARGS, limit_s=150),
    ]


def run_steps(steps: list[CheckStep], seconds: float) -> list[dict]:
    """One after the other until the time is used: name, status (ok, failed, NOT-RUN), seconds, and why."""
    deadline, rows = time.monotonic() + seconds, []
    for step in steps:
        seconds_left = deadline - time.monotonic()
        rows.append(
            {"name": step.name}
            | (run_step(step, min(seconds_left, step.limit_s)) if seconds_left > 1 else NO_TIME_LEFT)
        )
        row = rows[-1]
        print(f"gpu-check: {row['status']:<8}{row['seconds']:>7.1f} s  {step.name}  {row['why']}", flush=True)
    return rows


def run_step(step: CheckStep, limit_s: float) -> dict:
    """The step in a process group of its own, which ends with it."""
    start_s = time.monotonic()
    process = subprocess.Popen([sys.executable, *step.arguments], start_new_session=True)
    try:
        exit_code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        status, reason = "NOT-RUN", f"outlasted its {limit_s:.3g} s"
    else:
        status, reason = ("ok", "") if exit_code == 0 else ("failed", f"exit code {exit_code}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {"status": status, "seconds": round(time.monotonic() - start_s, 1), "why": reason}


if __name__ == "__main__":
    sys.exit(main())
