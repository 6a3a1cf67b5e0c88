"""Exponential moving averages (EMA) of the weights: some decays tracked exactly, others solved for after training.

After step s the average with decay d is Σ_t p_t θ_t with p_t = (1-d) d^(s-t), and p_0 = d^s on the initial weights (no
bias correction, PR #1493). A snapshot of a basis average is such a sum with known weights p, its profile, so an average
that was not tracked is approximated by the least-squares combination of snapshots whose profile comes nearest to its
own: post-hoc EMA, arXiv:2312.02696, section 3 and appendix C (docs/references.md#ema-posthoc).
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from golf.errors import ConfigError

__all__ = [
    "PROFILE_ERROR_TOLERANCE",
    "EMATracker",
    "PosthocEMA",
    "blend_with_last",
    "combine_snapshots",
    "compute_weight_profile",
    "describe_covered_decays",
    "require_posthoc",
    "solve_posthoc",
    "thin_snapshots",
    "to_cpu_async",
]

PROFILE_ERROR_TOLERANCE = 0.01  # relative error of the profile up to which a decay counts as covered


class EMATracker:
    """Tracks ``decays`` exactly and keeps at most ``max_snapshots`` snapshots of each of ``basis_decays``.

    It holds len({*decays, *basis_decays}) copies of the weights on the device and 2 · max_snapshots in CPU memory, 4
    bytes a weight each. A snapshot is taken every ``snapshot_every`` steps.
    """

    def __init__(
        self,
        weights: dict[str, torch.Tensor],
        decays: Iterable[float],
        basis_decays: Iterable[float],
        max_snapshots: int,
        snapshot_every: int,
    ) -> None:
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        self.decays, self.basis_decays = tuple(decays), tuple(basis_decays)
        self._max_snapshots, self._snapshot_every = max_snapshots, snapshot_every
        self.averages = {d: [w.clone() for w in self.weights.values()] for d in {*self.decays, *self.basis_decays}}
        self.snapshots: dict[int, dict[float, dict[str, torch.Tensor]]] = {}  # step -> basis decay -> weights
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step to every average."""
        self.steps += 1
        for decay, average in self.averages.items():
            torch._foreach_lerp_(average, list(self.weights.values()), 1 - decay)
        if self.steps % self._snapshot_every == 0:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Snapshot the basis averages, and drop the snapshot that contributes least if there are too many."""
        if self._max_snapshots and self.steps not in self.snapshots:
            self.snapshots[self.steps] = {decay: self.copy_average(decay) for decay in self.basis_decays}
        kept = thin_snapshots(sorted(self.snapshots), self._max_snapshots, self._snapshot_every)
        for step in set(self.snapshots) - set(kept):
            del self.snapshots[step]

    def copy_average(self, decay: float) -> dict[str, torch.Tensor]:
        """Return the average with a tracked ``decay`` by parameter name, copied to the CPU."""
        return {n: to_cpu_async(t) for n, t in zip(self.weights, self.averages[decay], strict=True)}


def to_cpu_async(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU. From a GPU it goes to pinned memory, and is there once the device has reached it."""
    if tensor.device.type != "cuda":
        return tensor.detach().clone()
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor.detach(), non_blocking=True)


def thin_snapshots(steps: Sequence[int], max_snapshots: int, snapshot_every: int) -> list[int]:
    """Return at most ``max_snapshots`` of the ascending ``steps``, with ages near a geometric series.

    The newest always stays. The last step of a timed run is not known beforehand, so old snapshots are dropped as new
    ones are taken.
    """
    kept = list(steps)
    while len(kept) > max_snapshots:
        newest = kept[-1]
        gaps = [
            (newest - (kept[i - 1] if i else 0) + 3 * snapshot_every) / (newest - kept[i + 1] + 3 * snapshot_every)
            for i in range(len(kept) - 1)
        ]
        kept.pop(int(np.argmin(gaps)))
    return kept


def compute_weight_profile(decay: float, step: int, n_steps: int) -> np.ndarray:
    """Return p_0 .. p_n_steps, the weights of θ_0 .. θ_n_steps in the average after ``step`` steps: float64."""
    weights = np.zeros(n_steps + 1)
    weights[1 : step + 1] = (1 - decay) * decay ** np.arange(step - 1, -1, -1, dtype=np.float64)
    weights[0] = decay**step
    return weights


@dataclass(frozen=True)
class PosthocEMA:
    """Coefficients of the snapshots by (basis decay, step), and the relative error of the resulting profile."""

    coefficients: dict[tuple[float, int], float]
    error: float


def solve_posthoc(
    decay: float, basis_decays: Sequence[float], snapshot_steps: Sequence[int], n_steps: int
) -> PosthocEMA:
    """Return the least-squares combination of snapshots nearest to the average with ``decay`` after ``n_steps``."""
    keys = [(basis_decay, step) for basis_decay in basis_decays for step in snapshot_steps]
    basis = np.stack([compute_weight_profile(basis_decay, step, n_steps) for basis_decay, step in keys], axis=1)
    target = compute_weight_profile(decay, n_steps, n_steps)
    solution = np.linalg.lstsq(basis, target, rcond=None)[0]
    error = np.linalg.norm(basis @ solution - target) / np.linalg.norm(target)
    return PosthocEMA(dict(zip(keys, solution.tolist(), strict=True)), float(error))


def describe_covered_decays(basis_decays: Sequence[float], snapshot_steps: Sequence[int], n_steps: int) -> str:
    """Return the ranges of decays that the snapshots cover, such as ``0.938 to 0.993``, by trying 200 decays."""
    decays = [round(1 - float(np.exp(-h)), 4) for h in -np.linspace(np.log(0.5), np.log(1e-4), 200)]
    is_covered = [
        solve_posthoc(decay, basis_decays, snapshot_steps, n_steps).error <= PROFILE_ERROR_TOLERANCE for decay in decays
    ]
    ranges = [
        list(group) for fits, group in itertools.groupby(zip(decays, is_covered, strict=True), lambda p: p[1]) if fits
    ]
    return ", ".join(f"{s[0][0]:g} to {s[-1][0]:g}" for s in ranges) or f"only {sorted(basis_decays)}"


def require_posthoc(
    decay: float, basis_decays: Sequence[float], snapshot_steps: Sequence[int], n_steps: int
) -> PosthocEMA:
    """Return ``solve_posthoc``'s combination. Raises ConfigError, naming the covered range, when it is too far off."""
    posthoc = solve_posthoc(decay, basis_decays, snapshot_steps, n_steps)
    if posthoc.error > PROFILE_ERROR_TOLERANCE:
        covered = describe_covered_decays(basis_decays, snapshot_steps, n_steps)
        raise ConfigError(
            f"ema.decay: {decay:g} is not covered by the EMA snapshots of this run (profile error {posthoc.error:.1%}, "
            f"allowed {PROFILE_ERROR_TOLERANCE:.0%}); covered: {covered}; or list it in train.ema_decays and train "
            f"again"
        )
    return posthoc


def blend_with_last(
    average: dict[str, torch.Tensor], last: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return share · average + (1 - share) · the last step's weights (docs/references.md#tail-ema), by name."""
    return average if share == 1 else {name: torch.lerp(last[name], tensor, share) for name, tensor in average.items()}


def combine_snapshots(
    posthoc: PosthocEMA, load_snapshot: Callable[[float, int], dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Return Σ coefficient · snapshot, summed in float64 and returned in fp32.

    ``load_snapshot(basis_decay, step)`` returns the weights of one snapshot.
    """
    total: dict[str, torch.Tensor] = {}
    for (basis_decay, step), coefficient in posthoc.coefficients.items():
        for name, tensor in load_snapshot(basis_decay, step).items():
            term = tensor.double() * coefficient
            total[name] = total[name].add_(term) if name in total else term
    return {name: tensor.float() for name, tensor in total.items()}
