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

from golf.ground import store

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RECORD = ("--profile", "profiles/record.yaml")
ON_GPU = ("--device", "cuda", "--dtype", "bfloat16")
OTHERS = tuple(  # by name: other test files need packages that this machine may lack
    f"tests/test_{name}.py" for name in ("attention", "compiled", "gpu_stages", "loader")
)
NO_TIME = {"status": "NOT-RUN", "seconds": 0.0, "why": "no time was left"}


@dataclass(frozen=True)
class Step:
    """A command of this Python, and the seconds that it may take."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480, help="for everything (480)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures (%(default)s)")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU here; make test is for machines without one", file=sys.stderr)
        return 2
    about = hardware.describe(torch.device("cuda"))
    rows = run(steps(about["slug"], asked.results), asked.seconds)
    store.write_json(asked.results / f"gpu_check.{about['slug']}.json", about | {"steps": rows})
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def steps(machine: str, results: Path) -> list[Step]:
    """The model's tests and the step's speed come first: they say most."""

    def benchmark(script: str, file: str, *arguments: str, limit_s: float) -> Step:
        written = str(results / f"{file}.{machine}.json")
        return Step(file, (str(HERE / script), *arguments, "--json", written), limit_s)

    # Another release of torch than the pinned one warns of other things, which are no errors here.
    tests = ("-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider")
    return [
        Step("tests of the model", (*tests, "tests/test_gpu_model.py"), 180),
        benchmark("train_step.py", "train_step.record", *RECORD, "--turns", "2", limit_s=220),
        Step("other tests", (*tests, *OTHERS), 150),
        benchmark("evaluation.py", "evaluation.record", *RECORD, *ON_GPU, limit_s=150),
    ]


def run(planned: list[Step], seconds: float) -> list[dict]:
    """One after the other until the time is used: name, status (ok, failed, NOT-RUN), seconds, and why."""
    end, rows = time.monotonic() + seconds, []
    for step in planned:
        left = end - time.monotonic()
        rows.append({"name": step.name} | (attempt(step, min(left, step.limit_s)) if left > 1 else NO_TIME))
        row = rows[-1]
        print(f"gpu-check: {row['status']:<8}{row['seconds']:>7.1f} s  {step.name}  {row['why']}", flush=True)
    return rows


def attempt(step: Step, limit_s: float) -> dict:
    """The step in a process group of its own, which ends with it."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *step.arguments], start_new_session=True)
    try:
        code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        status, why = "NOT-RUN", f"outlasted its {limit_s:.3g} s"
    else:
        status, why = ("ok", "") if code == 0 else ("failed", f"exit code {code}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {"status": status, "seconds": round(time.monotonic() - began, 1), "why": why}


if __name__ == "__main__":
    sys.exit(main())
