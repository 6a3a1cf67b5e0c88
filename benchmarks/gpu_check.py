"""``make gpu-check``: run the GPU tests and then the benchmarks, each within a time limit. DVC is not needed.

Writes results/gpu_check.<machine>.json with a row for each step; the benchmarks write their own files. A step without
time left, or one that exceeds its limit, is NOT-RUN. Exit code 0: every step succeeded.
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
OTHER_TESTS = (  # other test files need packages that the machine may lack
    "tests/gpu/test_stages.py",
    "tests/unit/data/test_loader.py",
    "tests/gpu/test_torch_compile.py",
)
NO_TIME_LEFT = {"status": "NOT-RUN", "seconds": 0.0, "reason": "no time was left"}


@dataclass(frozen=True)
class CheckStep:
    """Arguments of this Python, and the seconds that they may take."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480, help="for all steps (480)")
    parser.add_argument("--results", type=Path, default=RESULTS_DIR, help="folder for the measurements (%(default)s)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check: torch finds no GPU; on a machine without one, run make test", file=sys.stderr)
        return 2
    machine = hardware.describe_machine(torch.device("cuda"))
    rows = run_steps(plan_steps(machine["slug"], args.results), args.seconds)
    io.write_json(args.results / f"gpu_check.{machine['slug']}.json", machine | {"steps": rows})
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def plan_steps(machine_slug: str, results_dir: Path) -> list[CheckStep]:
    """The most informative steps come first: the tests of the model and the speed of the training step."""

    def benchmark(script: str, file: str, *arguments: str, limit_s: float) -> CheckStep:
        json_path = str(results_dir / f"{file}.{machine_slug}.json")
        return CheckStep(file, (str(BENCHMARKS_DIR / script), *arguments, "--json", json_path), limit_s)

    # A release of torch other than the pinned one has other warnings, which are not errors here.
    pytest_args = ("-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider")
    return [
        CheckStep("tests of the model", (*pytest_args, "tests/gpu/test_model.py"), 180),
        benchmark("train_step.py", "train_step.record", *RECORD_PROFILE_ARGS, "--turns", "2", limit_s=220),
        CheckStep("other tests", (*pytest_args, *OTHER_TESTS), 150),
        benchmark("evaluation.py", "evaluation.record", *RECORD_PROFILE_ARGS, *GPU_ARGS, limit_s=150),
    ]


def run_steps(steps: list[CheckStep], seconds: float) -> list[dict]:
    """Run the steps in order until the time is used: name, status (ok, failed, NOT-RUN), seconds, reason."""
    deadline, rows = time.monotonic() + seconds, []
    for step in steps:
        seconds_left = deadline - time.monotonic()
        rows.append(
            {"name": step.name}
            | (run_step(step, min(seconds_left, step.limit_s)) if seconds_left > 1 else NO_TIME_LEFT)
        )
        row = rows[-1]
        print(f"gpu-check: {row['status']:<8}{row['seconds']:>7.1f} s  {step.name}  {row['reason']}", flush=True)
    return rows


def run_step(step: CheckStep, limit_s: float) -> dict:
    """Run the step in its own process group, which is killed with it."""
    start_s = time.monotonic()
    process = subprocess.Popen([sys.executable, *step.arguments], start_new_session=True)
    try:
        exit_code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        status, reason = "NOT-RUN", f"exceeded its limit of {limit_s:.3g} s"
    else:
        status, reason = ("ok", "") if exit_code == 0 else ("failed", f"exit code {exit_code}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {"status": status, "seconds": round(time.monotonic() - start_s, 1), "reason": reason}


if __name__ == "__main__":
    sys.exit(main())
