"""Curves of bytes against divergence: bytes at equal divergence, by interpolation inside the measured range only.

A curve is one recipe at several settings. A comparison fixes a divergence, that of one measured point, and divides the
bytes of two curves there. Between two neighboring points bytes are linear in the log of the divergence. Outside the
measured range there is no figure. Every measured point takes part, whatever its bpb.

The interval of a ratio is over documents: all curves are computed again from the same documents, drawn with
replacement. The interval over seeds is a paired t interval of the log ratio.
"""

# P points of a curve, D documents, B resamples

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golf.evaluation import significance

N_RESAMPLES = 1000
_QUANTILES = ((1 - significance.CONFIDENCE_LEVEL) / 2, (1 + significance.CONFIDENCE_LEVEL) / 2)


@dataclass(frozen=True)
class Curve:
    """bytes: int [P], of the file. kl: nats [P, D], the divergence summed over each document's targets.

    Raises ValueError when the total divergence of a point is not positive, as it has no log.
    """

    bytes: np.ndarray
    kl: np.ndarray

    def __post_init__(self) -> None:
        total_P = self.kl.sum(axis=1)
        if not (total_P > 0).all():
            index = int(np.argmin(total_P > 0))
            problem = f"a divergence of {total_P[index]:.3g} nats at {self.bytes[index]:,} bytes is not above rounding"
            raise ValueError(f"{problem}; use coarser settings")


@dataclass(frozen=True)
class ByteRatio:
    """value: the bytes of one curve over those of another; None outside the measured range of either.

    low, high: the interval over documents; None where the range of some resample does not reach.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def bytes_at(curve_bytes_P: np.ndarray, kl_P: np.ndarray, target_kl: float) -> float | None:
    """The fewest bytes at which a curve reaches ``target_kl``; None where no two neighbors enclose it.

    kl_P, target_kl: positive, in one unit. Neighbors are in the order of bytes; noise may make a curve cross a
    divergence more than once.
    """
    order = np.argsort(curve_bytes_P, kind="stable")
    x, y, target = np.asarray(curve_bytes_P, float)[order], np.log(np.asarray(kl_P)[order]), math.log(target_kl)
    crossings = [float(x[i]) for i in np.flatnonzero(y == target)]
    for i in range(len(x) - 1):
        if min(y[i], y[i + 1]) < target < max(y[i], y[i + 1]):
            crossings.append(float(x[i] + (target - y[i]) / (y[i + 1] - y[i]) * (x[i + 1] - x[i])))
    return min(crossings, default=None)


@dataclass(frozen=True)
class Comparison:
    """Two curves of one run, which meet at the divergence of a measured point.

    target_kl_D: that point's row of ``Curve.kl``. tokens_D: targets of each document. All are of the same documents.
    """

    ours: Curve
    theirs: Curve
    target_kl_D: np.ndarray
    tokens_D: np.ndarray


def compare_bytes(ours: Curve, theirs: Curve, target_kl_D: np.ndarray, tokens_D: np.ndarray) -> ByteRatio:
    """Our bytes over theirs; the arguments are those of ``Comparison``."""
    return pool_over_documents([Comparison(ours, theirs, target_kl_D, tokens_D)])


def pool_over_documents(comparisons: Sequence[Comparison]) -> ByteRatio:
    """The geometric mean of our bytes over theirs over several runs, with its interval over documents.

    Runs of equally many documents are taken to be of the same documents and are drawn the same ones. No value where a
    run has none.
    """
    value = _mean_ratio(comparisons, [np.ones(len(run.tokens_D)) for run in comparisons])
    if value is None or min(len(run.tokens_D) for run in comparisons) < 2:
        return ByteRatio(value)
    draws = zip(*(_draw_document_counts(len(run.tokens_D)) for run in comparisons), strict=True)
    ratios = [_mean_ratio(comparisons, weights) for weights in draws]
    if None in ratios:
        return ByteRatio(value)
    return ByteRatio(value, *np.quantile(ratios, _QUANTILES).tolist())


def _mean_ratio(comparisons: Sequence[Comparison], weights: Sequence[np.ndarray]) -> float | None:
    logs = []
    for run, weight_D in zip(comparisons, weights, strict=True):
        ratio = _byte_ratio(run.ours, run.theirs, run.target_kl_D, run.tokens_D, weight_D)
        if ratio is None:
            return None
        logs.append(math.log(ratio))
    return math.exp(sum(logs) / len(logs)) if logs else None


@functools.cache
def _draw_document_counts(n_documents: int) -> np.ndarray:
    """How often each document is drawn, int [B, D]: the same for every comparison, so that intervals are paired."""
    return np.random.default_rng(0).multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=N_RESAMPLES)


def _byte_ratio(
    ours: Curve, theirs: Curve, target_kl_D: np.ndarray, tokens_D: np.ndarray, weight_D: np.ndarray
) -> float | None:
    n_tokens = tokens_D @ weight_D
    target_kl = target_kl_D @ weight_D / n_tokens
    our_bytes, their_bytes = (
        bytes_at(curve.bytes, curve.kl @ weight_D / n_tokens, target_kl) for curve in (ours, theirs)
    )
    return None if our_bytes is None or their_bytes is None else our_bytes / their_bytes


def pool_over_seeds(ratios: Sequence[float | None]) -> ByteRatio:
    """The geometric mean over runs, with its interval over seeds; no value where a run has none."""
    if not ratios or None in ratios:
        return ByteRatio(None)
    logs = [math.log(ratio) for ratio in ratios if ratio is not None]
    if len(logs) < 2:
        return ByteRatio(math.exp(logs[0]))
    interval = significance.compute_paired_interval([0.0] * len(logs), logs)
    if interval.half_width is None or not math.isfinite(interval.half_width):
        return ByteRatio(math.exp(interval.value))
    ends = (math.exp(interval.value + sign * interval.half_width) for sign in (-1, 1))
    return ByteRatio(math.exp(interval.value), *ends)


def lower_hull(bytes_P: np.ndarray, kl_P: np.ndarray) -> list[int]:
    """Indices of the points on the lower convex hull of (bytes, log divergence), from the fewest bytes on.

    The hull ends at the lowest divergence. With it a recipe of several settings becomes one curve: no other measured
    point, and no mixture of two, has fewer bytes at the same log divergence.
    """
    points = sorted(zip(bytes_P.tolist(), np.log(kl_P).tolist(), range(len(bytes_P)), strict=True))
    hull: list[tuple[float, float, int]] = []
    for point in points:
        if hull and point[1] >= min(other[1] for other in hull):
            continue  # another point has fewer bytes and no more divergence
        while len(hull) > 1 and _is_above_line(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return [index for _, _, index in hull]


def _is_above_line(start: tuple, middle: tuple, end: tuple) -> bool:
    share = (middle[0] - start[0]) / (end[0] - start[0])
    return middle[1] >= start[1] + share * (end[1] - start[1])


def format_ratio(ratio: ByteRatio) -> str:
    """Such as "0.812 (0.801–0.823)"."""
    if ratio.value is None:
        return "outside the range"
    return f"{ratio.value:.3f}" + ("" if ratio.low is None else f" ({ratio.low:.3f}–{ratio.high:.3f})")
