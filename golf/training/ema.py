"""Moving averages of the weights: some decays exactly, and others afterwards from snapshots of two traces.

After step s the average with decay d is Σ_t p_t θ_t with p_t = (1-d) d^(s-t) and p_0 = d^s on the initial weights (no
bias correction, PR #1493). A snapshot of a trace is such a sum with known p, so a decay that nobody tracked is the
least-squares combination of snapshots whose profile comes nearest to its own (post-hoc EMA, arXiv:2312.02696, app. C).
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from golf.errors import ConfigError

PROFILE_ERROR_TOLERANCE = 0.01  # relative profile error up to which a decay counts as covered


class EMATracker:
    """Tracks ``decays`` exactly and keeps at most ``keep`` snapshots of each of ``traces`` (0: none).

    Storage bound: len(set(decays + traces)) copies on the device and 2 · keep copies in memory, 4 bytes a weight each.
    """

    def __init__(self, weights: dict[str, torch.Tensor], decays, basis_decays, max_snapshots: int, snapshot_every: int):
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        self.decays, self.basis_decays, self._max_snapshots, self._snapshot_every = (
            tuple(decays),
            tuple(basis_decays),
            max_snapshots,
            snapshot_every,
        )
        self.averages = {d: [w.clone() for w in self.weights.values()] for d in {*self.decays, *self.basis_decays}}
        self.snapshots: dict[int, dict[float, dict[str, torch.Tensor]]] = {}
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        for decay, average in self.averages.items():
            torch._foreach_lerp_(average, list(self.weights.values()), 1 - decay)
        if self.steps % self._snapshot_every == 0:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Keep the traces as they are now, and let go of the snapshot that is missed least."""
        if self._max_snapshots and self.steps not in self.snapshots:
            self.snapshots[self.steps] = {
                basis_decay: self.copy_average(basis_decay) for basis_decay in self.basis_decays
            }
        for step in set(self.snapshots) - set(
            thin_snapshots(sorted(self.snapshots), self._max_snapshots, self._snapshot_every)
        ):
            del self.snapshots[step]

    def copy_average(self, decay: float) -> dict[str, torch.Tensor]:
        return {n: to_cpu_async(t) for n, t in zip(self.weights, self.averages[decay], strict=True)}


def to_cpu_async(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU; from a GPU into pinned memory, and there only once the device has come so far."""
    if tensor.device.type != "cuda":
        return tensor.detach().clone()
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor.detach(), non_blocking=True)


def thin_snapshots(steps: list[int], max_snapshots: int, snapshot_every: int) -> list[int]:
    """At most ``keep`` of the ascending ``steps``, ages near a geometric row; the newest always stays.

    The end of a timed run is not known beforehand, so old snapshots are let go as new ones come.
    """
    steps = list(steps)
    while len(steps) > max_snapshots:
        newest = steps[-1]
        gaps = [
            (newest - (steps[i - 1] if i else 0) + 3 * snapshot_every) / (newest - steps[i + 1] + 3 * snapshot_every)
            for i in range(len(steps) - 1)
        ]
        steps.pop(int(np.argmin(gaps)))
    return steps


def weight_profile(decay: float, step: int, n_steps: int) -> np.ndarray:
    """Weights p_0 .. p_steps of θ_0 .. θ_steps in the average with ``decay`` after ``step`` steps: float64."""
    weights = np.zeros(n_steps + 1)
    weights[1 : step + 1] = (1 - decay) * decay ** np.arange(step - 1, -1, -1, dtype=np.float64)
    weights[0] = decay**step
    return weights


@dataclass(frozen=True)
class PosthocEMA:
    """Coefficients by (trace, step), and the relative error of the profile they make."""

    coefficients: dict[tuple[float, int], float]
    error: float


def solve_posthoc(decay: float, basis_decays, snapshot_steps, n_steps: int) -> PosthocEMA:
    """The least-squares combination of snapshots nearest to ``decay`` after ``steps`` steps."""
    keys = [(basis_decay, step) for basis_decay in basis_decays for step in snapshot_steps]
    basis = np.stack([weight_profile(trace, step, n_steps) for trace, step in keys], axis=1)
    target = weight_profile(decay, n_steps, n_steps)
    solution = np.linalg.lstsq(basis, target, rcond=None)[0]
    error = np.linalg.norm(basis @ solution - target) / np.linalg.norm(target)
    return PosthocEMA(dict(zip(keys, solution.tolist(), strict=True)), float(error))


def describe_covered_decays(basis_decays, snapshot_steps, n_steps: int) -> str:
    """The stretches of decays that are covered, ``0.938 to 0.993``, on a grid of 200; else the traces alone."""
    decays = [round(1 - float(np.exp(-h)), 4) for h in -np.linspace(np.log(0.5), np.log(1e-4), 200)]
    is_covered = [
        solve_posthoc(decay, basis_decays, snapshot_steps, n_steps).error <= PROFILE_ERROR_TOLERANCE for decay in decays
    ]
    ranges = [
        list(group) for fits, group in itertools.groupby(zip(decays, is_covered, strict=True), lambda p: p[1]) if fits
    ]
    return ", ".join(f"{s[0][0]:g} to {s[-1][0]:g}" for s in ranges) or f"only {sorted(basis_decays)}"


def require_posthoc(decay: float, basis_decays, snapshot_steps, n_steps: int) -> PosthocEMA:
    """The recipe, or ParamsError naming the range that the kept traces allow."""
    posthoc = solve_posthoc(decay, basis_decays, snapshot_steps, n_steps)
    if posthoc.error > PROFILE_ERROR_TOLERANCE:
        raise ConfigError(
            f"ema.decay: {decay:g} is not covered by the traces of this run (profile error {posthoc.error:.1%}, "
            f"allowed {PROFILE_ERROR_TOLERANCE:.0%}); covered: {describe_covered_decays(basis_decays, snapshot_steps, n_steps)}; or list it in train.ema_decays "
            f"and train again"
        )
    return posthoc


def combine_snapshots(posthoc: PosthocEMA, load_snapshot) -> dict[str, torch.Tensor]:
    """Σ coefficient · snapshot, summed in float64, returned in fp32. read(trace, step) gives a snapshot's weights."""
    total: dict[str, torch.Tensor] = {}
    for (basis_decay, step), coefficient in posthoc.coefficients.items():
        for name, tensor in load_snapshot(basis_decay, step).items():
            term = tensor.double() * coefficient
            total[name] = total[name].add_(term) if name in total else term
    return {name: tensor.float() for name, tensor in total.items()}
