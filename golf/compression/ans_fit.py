"""Choose the templates and levels under which ``golf.compression.ans`` codes a matrix in the fewest bits.

The ideal code length of n residuals r under a discrete Gaussian of level l, with σ² = (5/4)^l / 64, is

    bits(l) = n log2 Z_l + b_l Σ r²,    Z_l = Σ_x exp(-x² / 2σ²),    b_l = log2(e) / 2σ²

which depends on the residuals through n and Σ r² only. Rows and columns both have levels, and a residual's level is
their sum, so one product of the squared residuals with an indicator matrix of the other side's levels gives the cost of
every level for every row (or column) at once. Coding a level's index costs bits too, and the search includes them.

The decoder reads what was chosen, so a choice that differs between machines, where two levels cost the same and sums
round differently, is still decoded correctly.
"""

# O output features (rows), I input features (columns), T templates, L levels, C distinct levels of the other side,
# A the side (rows or columns) that is being chosen, B the other side, S sampled rows, N sampled seed rows

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.compression.ans import N_SIGMA_LEVELS

__all__ = [
    "MatrixFit",
    "cap_outliers",
    "choose_levels",
    "fit_center_and_level",
    "fit_codes",
    "log2_parity_partitions",
    "log2_partition",
    "square_bits",
]

_TEMPLATE_COUNTS = (2, 4, 8)  # tried in turn, until one more saves nothing
_TALL_ASPECT = 4  # rows per column from which several templates are tried; only the embedding is that tall
_SAMPLE_ROWS, _SEED_ROWS = 1024, 64  # rows that templates are learned from; rows that are candidates to start from
_N_ITERATIONS = 3  # of the alternating searches, which have converged by then
_HALF_PRECISION_L = 32 * 0.8 ** np.arange(N_SIGMA_LEVELS)  # 1 / 2σ²
_BITS_PER_SQUARE_L = _HALF_PRECISION_L * np.log2(np.e)


@dataclass(frozen=True, slots=True)
class MatrixFit:
    """Parameters under which a matrix is coded, all integers, and an estimate of the bits that it then takes."""

    templates_TI: np.ndarray
    template_index_O: np.ndarray
    row_level_O: np.ndarray
    column_level_I: np.ndarray
    bits: float


def fit_codes(codes_OI: np.ndarray, *, parity_known: bool = False) -> MatrixFit:
    """Return the cheapest fit found for a non-empty integer matrix: one template of zeros, or learned templates.

    parity_known: the decoder knows the parity of each residual beforehand (``golf.compression.trellis``).
    """
    zeros_1I, zeros_O = np.zeros((1, codes_OI.shape[1]), codes_OI.dtype), np.zeros(len(codes_OI), np.int64)
    best = _fit_levels(codes_OI, zeros_1I, zeros_O, parity_known)
    for n_templates in _candidate_template_counts(codes_OI):
        candidate = _fit_levels(codes_OI, *_kmeans_templates(codes_OI, n_templates), parity_known)
        if candidate.bits >= best.bits:
            break
        best = candidate
    return best


def _candidate_template_counts(codes_OI: np.ndarray) -> tuple[int, ...]:
    """Several templates for a tall matrix; one, its mean, where columns lie further from 0 than they spread."""
    if len(codes_OI) > _TALL_ASPECT * codes_OI.shape[1]:
        return _TEMPLATE_COUNTS
    sample_NI = _subsample_rows(codes_OI, _SEED_ROWS)
    return (1,) if sample_NI.var(axis=0).sum() < (sample_NI.mean(axis=0) ** 2).sum() else ()


def _subsample_rows(codes_OI: np.ndarray, max_rows: int) -> np.ndarray:
    """At most ``max_rows`` evenly spaced rows, in float64."""
    return codes_OI[:: -(-len(codes_OI) // max_rows)].astype(np.float64)


def _fit_levels(
    codes_OI: np.ndarray, templates_TI: np.ndarray, template_index_O: np.ndarray, parity_known: bool
) -> MatrixFit:
    """Levels for given templates, by alternation: columns with all rows alike, then rows, then columns again."""
    residual_OI = codes_OI - templates_TI[template_index_O]
    square_OI = cap_outliers(residual_OI.astype(np.float64) ** 2)
    odd_OI = (residual_OI & 1).astype(np.float64) if parity_known else None
    odd_IO = None if odd_OI is None else odd_OI.T
    row_level_O = np.zeros(len(codes_OI), np.int64)
    column_level_I, bits = choose_levels(square_OI.T, row_level_O, _gaussian_level_bits, odd_IO)
    level_O, _ = choose_levels(square_OI, column_level_I - column_level_I.min(), _brotli_level_bits, odd_OI)
    if (level_O != level_O[0]).any():
        row_level_O = level_O
        column_level_I, bits = choose_levels(square_OI.T, row_level_O, _gaussian_level_bits, odd_IO)
    side_info_bits = (
        _brotli_level_bits(row_level_O)[row_level_O].sum()
        + _brotli_level_bits(template_index_O)[template_index_O].sum()
        + 8 * templates_TI.size
    )
    return MatrixFit(templates_TI, template_index_O, row_level_O, column_level_I, float(bits + side_info_bits))


def cap_outliers(square_OI: np.ndarray) -> np.ndarray:
    """Cap squared residuals that stand out of both their row and their column.

    Such a residual is escaped, so it must not widen its row's level: it counts at most 256 + 128 m, with m the larger
    of its row's and its column's median square. That is (8σ + 16)², the end of the table, up to a factor of 2.
    """
    if square_OI.max() <= 256 + 128 * square_OI.mean():
        return square_OI
    median_O1 = np.median(_subsample_rows(square_OI.T, _SEED_ROWS), axis=0)[:, None]
    median_1I = np.median(_subsample_rows(square_OI, _SEED_ROWS), axis=0)[None]
    return np.minimum(square_OI, 256 + 128 * np.maximum(median_O1, median_1I))


def choose_levels(
    square_AB: np.ndarray,
    other_level_B: np.ndarray,
    level_bits: Callable[[np.ndarray], np.ndarray],
    odd_AB: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Return (level int [A] to be added to the other side's, bits of all codes and level indices under it).

    odd_AB: 1 where a residual is odd, if the decoder knows which are; None otherwise.
    level_bits: from the levels in use [A] to the bits of each level's index [L]. These bits and the choices depend on
    each other, so they alternate. One level for all of A, which needs no indices, wins where it is cheaper.
    """
    used_C, class_B, n_C = np.unique(other_level_B, return_inverse=True, return_counts=True)
    level_CL = np.minimum(used_C[:, None] + np.arange(N_SIGMA_LEVELS), N_SIGMA_LEVELS - 1)
    square_AC = square_AB @ np.eye(len(used_C))[class_B]
    bits_AL = square_AC @ _BITS_PER_SQUARE_L[level_CL]
    if odd_AB is None:
        bits_AL += n_C @ log2_partition()[level_CL]
    else:
        even_L, odd_L = log2_parity_partitions().T
        bits_AL += n_C @ even_L[level_CL] + odd_AB @ np.eye(len(used_C))[class_B] @ (odd_L - even_L)[level_CL]
    level_A = bits_AL.argmin(axis=1)
    for _ in range(_N_ITERATIONS):
        total_bits_AL = bits_AL + level_bits(level_A)
        level_A = total_bits_AL.argmin(axis=1)
    bits = float(np.take_along_axis(total_bits_AL, level_A[:, None], axis=1).sum())
    uniform_bits_L = bits_AL.sum(axis=0)
    if uniform_bits_L.min() < bits:
        return np.full(len(square_AB), uniform_bits_L.argmin()), float(uniform_bits_L.min())
    return level_A, bits


def _brotli_level_bits(level_A: np.ndarray) -> np.ndarray:
    """Bits [L] of each level's index in the Brotli side information: -log2 of its smoothed frequency."""
    return -np.log2((np.bincount(level_A, minlength=N_SIGMA_LEVELS) + 0.5) / len(level_A))


def _gaussian_level_bits(level_A: np.ndarray) -> np.ndarray:
    """Bits [L] of each level's index in the ANS stream, which codes column levels under a Gaussian of their own."""
    center, level = fit_center_and_level(level_A)
    return log2_partition()[level] + _BITS_PER_SQUARE_L[level] * (np.arange(N_SIGMA_LEVELS) - center) ** 2


def fit_center_and_level(values_A: np.ndarray) -> tuple[int, int]:
    """Return (median, the level under which the differences from it are shortest) of integers [A]."""
    center = int(np.median(values_A))
    bits_L = ((values_A - center) ** 2).sum() * _BITS_PER_SQUARE_L + len(values_A) * log2_partition()
    return center, int(bits_L.argmin())


@functools.cache
def log2_partition() -> np.ndarray:
    """Return log2 Z [L]: from the integral √(2π)σ where σ > 1, from the sum otherwise; both are exact to 1e-8."""
    partition_L = 1 + 2 * np.exp(-np.outer(_HALF_PRECISION_L, np.arange(1, 10) ** 2)).sum(axis=1)
    return np.log2(np.where(_HALF_PRECISION_L < 0.5, np.sqrt(np.pi / _HALF_PRECISION_L), partition_L))


@functools.cache
def log2_parity_partitions() -> np.ndarray:
    """Return log2 of Σ exp(-x² / 2σ²) over the even and over the odd integers, [L, 2]: half of Z each where σ > 3."""
    x = np.arange(-30, 31)
    weights_XL = np.exp(-np.outer(x**2, _HALF_PRECISION_L))
    sums_L2 = np.stack([weights_XL[x % 2 == parity].sum(axis=0) for parity in (0, 1)], axis=1)
    return np.where(_HALF_PRECISION_L[:, None] < 0.05, log2_partition()[:, None] - 1, np.log2(sums_L2))


def square_bits() -> np.ndarray:
    """Return the bits [L] of a residual of 1 beyond those of 0, which grow with its square."""
    return _BITS_PER_SQUARE_L


def _kmeans_templates(codes_OI: np.ndarray, n_templates: int) -> tuple[np.ndarray, np.ndarray]:
    """(templates integer [T, I], index of each row's template [O]), by k-means on a sample of rows.

    Distances weigh a column by about 1 / its variance (a power of two, so that machines agree). A row at squared
    distance d from its template gets a level to match, so it costs ½ log2 d bits a code, and the gradient of that cost
    weighs the row by 1 / d in its template's mean. The first template is the mean of all rows. The others start from
    sampled rows, each time the one that saves the most bits, not counting the row itself: what a template saves a
    single row, it costs to store.
    """
    x_SI = _subsample_rows(codes_OI, _SAMPLE_ROWS)
    center_TI = np.rint(x_SI.mean(axis=0, keepdims=True))
    weight_I = np.exp2(-np.rint(np.log2(((x_SI - center_TI) ** 2).mean(axis=0) + 1 / 64)))
    stride = -(-len(x_SI) // _SEED_ROWS)
    seeds_NI = x_SI[::stride]
    cost_SN = np.log2(_squared_distances(x_SI, seeds_NI, weight_I))
    np.fill_diagonal(cost_SN[::stride], np.inf)
    cost_S = np.log2(_squared_distances(x_SI, center_TI, weight_I)[:, 0])
    for _ in range(n_templates - 1):
        seed = np.maximum(cost_S[:, None] - cost_SN, 0).sum(axis=0).argmax()
        cost_S = np.minimum(cost_S, cost_SN[:, seed])
        center_TI = np.concatenate([center_TI, seeds_NI[seed : seed + 1]])
    for _ in range(_N_ITERATIONS):
        sq_dist_ST = _squared_distances(x_SI, center_TI, weight_I)
        weight_ST = np.eye(n_templates)[sq_dist_ST.argmin(axis=1)] * np.exp2(-np.rint(np.log2(sq_dist_ST)))
        total_weight_T = weight_ST.sum(axis=0)[:, None]
        means_TI = np.rint(weight_ST.T @ x_SI / np.where(total_weight_T > 0, total_weight_T, 1))
        center_TI = np.where(total_weight_T > 0, means_TI, center_TI)
    template_index_O = _squared_distances(codes_OI.astype(np.float64), center_TI, weight_I).argmin(axis=1)
    return center_TI.astype(codes_OI.dtype), template_index_O


def _squared_distances(x_SI: np.ndarray, center_TI: np.ndarray, weight_I: np.ndarray) -> np.ndarray:
    """Weighted squared distance of each row to each center [S, T], plus rounding's variance 1/12 in each column.

    The squares of int32 codes do not fit float64, so a distance of nearly 0 may round to less.
    """
    sq_dist_ST = (x_SI**2 @ weight_I)[:, None] - 2 * (x_SI * weight_I) @ center_TI.T + center_TI**2 @ weight_I
    return np.maximum(sq_dist_ST, 0) + weight_I.sum() / 12
