"""Moving averages of the weights: some decays exactly, and others afterwards from snapshots of two traces.

After step s the average with decay d is Σ_t p_t θ_t with p_t = (1-d) d^(s-t) and p_0 = d^s on the initial weights (no
bias correction, PR #1493). A snapshot of a trace is such a sum with known p, so a decay that nobody tracked is the
least-squares combination of snapshots whose profile comes nearest to its own (post-hoc EMA, arXiv:2312.02696, app. C).
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from golf.ground.errors import ParamsError

TOLERANCE = 0.01  # relative profile error up to which a decay counts as covered


class Averages:
    """Tracks ``decays`` exactly and keeps at most ``keep`` snapshots of each of ``traces`` (0: none).

    Storage bound: len(set(decays + traces)) copies on the device and 2 · keep copies in memory, 4 bytes a weight each.
    """

    def __init__(self, weights: dict[str, torch.Tensor], decays, traces, keep: int, every: int):
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        self.decays, self.traces, self.keep, self.every = tuple(decays), tuple(traces), keep, every
        self.running = {d: [w.clone() for w in self.weights.values()] for d in {*self.decays, *self.traces}}
        self.snapshots: dict[int, dict[float, dict[str, torch.Tensor]]] = {}
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        for decay, average in self.running.items():
            torch._foreach_lerp_(average, list(self.weights.values()), 1 - decay)
        if self.steps % self.every == 0:
            self.snapshot()

    def snapshot(self) -> None:
        """Keep the traces as they are now, and let go of the snapshot that is missed least."""
        if self.keep and self.steps not in self.snapshots:
            self.snapshots[self.steps] = {trace: self.copy(trace) for trace in self.traces}
        for step in set(self.snapshots) - set(thinned(sorted(self.snapshots), self.keep, self.every)):
            del self.snapshots[step]

    def copy(self, decay: float) -> dict[str, torch.Tensor]:
        return {n: copied(t) for n, t in zip(self.weights, self.running[decay], strict=True)}


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU; from a GPU into pinned memory, and there only once the device has come so far."""
    if tensor.device.type != "cuda":
        return tensor.detach().clone()
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor.detach(), non_blocking=True)


def thinned(steps: list[int], keep: int, every: int) -> list[int]:
    """At most ``keep`` of the ascending ``steps``, ages near a geometric row; the newest always stays.

    The end of a timed run is not known beforehand, so old snapshots are let go as new ones come.
    """
    steps = list(steps)
    while len(steps) > keep:
        now = steps[-1]
        gaps = [
            (now - (steps[i - 1] if i else 0) + 3 * every) / (now - steps[i + 1] + 3 * every)
            for i in range(len(steps) - 1)
        ]
        steps.pop(int(np.argmin(gaps)))
    return steps


def profile(decay: float, step: int, steps: int) -> np.ndarray:
    """Weights p_0 .. p_steps of θ_0 .. θ_steps in the average with ``decay`` after ``step`` steps: float64."""
    made = np.zeros(steps + 1)
    made[1 : step + 1] = (1 - decay) * decay ** np.arange(step - 1, -1, -1, dtype=np.float64)
    made[0] = decay**step
    return made


@dataclass(frozen=True)
class Recipe:
    """Coefficients by (trace, step), and the relative error of the profile they make."""

    coefficients: dict[tuple[float, int], float]
    error: float


def recipe(decay: float, traces, snapshots, steps: int) -> Recipe:
    """The least-squares combination of snapshots nearest to ``decay`` after ``steps`` steps."""
    keys = [(trace, step) for trace in traces for step in snapshots]
    basis = np.stack([profile(trace, step, steps) for trace, step in keys], axis=1)
    target = profile(decay, steps, steps)
    solution = np.linalg.lstsq(basis, target, rcond=None)[0]
    error = np.linalg.norm(basis @ solution - target) / np.linalg.norm(target)
    return Recipe(dict(zip(keys, solution.tolist(), strict=True)), float(error))


def covered(traces, snapshots, steps: int) -> str:
    """The stretches of decays that are covered, ``0.938 to 0.993``, on a grid of 200; else the traces alone."""
    grid = [round(1 - float(np.exp(-h)), 4) for h in -np.linspace(np.log(0.5), np.log(1e-4), 200)]
    good = [recipe(decay, traces, snapshots, steps).error <= TOLERANCE for decay in grid]
    stretches = [list(group) for fits, group in itertools.groupby(zip(grid, good, strict=True), lambda p: p[1]) if fits]
    return ", ".join(f"{s[0][0]:g} to {s[-1][0]:g}" for s in stretches) or f"only {sorted(traces)}"


def checked_recipe(decay: float, traces, snapshots, steps: int) -> Recipe:
    """The recipe, or ParamsError naming the range that the kept traces allow."""
    found = recipe(decay, traces, snapshots, steps)
    if found.error > TOLERANCE:
        raise ParamsError(
            f"ema.decay: {decay:g} is not covered by the traces of this run (profile error {found.error:.1%}, "
            f"allowed {TOLERANCE:.0%}); covered: {covered(traces, snapshots, steps)}; or list it in train.ema_decays "
            f"and train again"
        )
    return found


def combined(recipe: Recipe, read) -> dict[str, torch.Tensor]:
    """Σ coefficient · snapshot, summed in float64, returned in fp32. read(trace, step) gives a snapshot's weights."""
    total: dict[str, torch.Tensor] = {}
    for (trace, step), coefficient in recipe.coefficients.items():
        for name, tensor in read(trace, step).items():
            part = tensor.double() * coefficient
            total[name] = total[name].add_(part) if name in total else part
    return {name: tensor.float() for name, tensor in total.items()}
