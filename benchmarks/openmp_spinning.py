"""What an eager step takes by how long OpenMP's threads spin. ``PYTHONPATH=. python benchmarks/openmp_spinning.py``

Times a block of matrix products and element-wise operations of the default model's shapes, in a process of two threads,
alone on the machine and beside a process that keeps one core busy: with libgomp's default and with the spin count that
``golf.evaluation.fence.environment`` gives to the predictor's process, by turns. Nothing else may run on the machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from golf.evaluation.fence.environment import SPIN_COUNT

TOKENS, WIDTH, LAYERS = 2048, 192, 5
WARMUP_STEPS = 5
VARIABLE = "GOMP_SPINCOUNT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument(
        "--turns", type=int, default=3, help="of each setting, of which the median counts (%(default)s)"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(measure_step(args.seconds))
        return
    base = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "OMP_WAIT_POLICY")}
    settings = {"libgomp's default": base, f"{VARIABLE}={SPIN_COUNT}": base | {VARIABLE: SPIN_COUNT}}
    for title, n_busy in (("alone", 0), ("beside a busy process", 1)):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
        try:
            seconds = {name: [] for name in settings}
            for _ in range(args.turns):
                for name, env in settings.items():
                    seconds[name].append(run_child(env, args.seconds))
        finally:
            for process in busy:
                process.kill()
        for name, values in seconds.items():
            print(f"{title}, {name}: {1e3 * statistics.median(values):.1f} ms a step")


def run_child(env: dict[str, str], seconds: float) -> float:
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
    return float(subprocess.run(command, env=env, capture_output=True, check=True, text=True).stdout)


@torch.no_grad()
def measure_step(seconds: float) -> float:
    """Seconds of a step, the mean over this many seconds of steps."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    weights = [0.02 * torch.randn(WIDTH, 4 * WIDTH) for _ in range(LAYERS)]
    inputs = torch.randn(TOKENS, WIDTH)
    for _ in range(WARMUP_STEPS):
        run_block(inputs, weights)
    n_steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run_block(inputs, weights)
        n_steps += 1
    return (time.perf_counter() - started) / n_steps


def run_block(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    for weight in weights:
        hidden = F.leaky_relu(x @ weight, 0.5).square()
        x = x + F.rms_norm(hidden @ weight.T, (WIDTH,))
        x = x + torch.sigmoid(x) * (1.1 * x + 0.3)
    return x


if __name__ == "__main__":
    main()
