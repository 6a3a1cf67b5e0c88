"""Which templates and widths make integer codes shortest under ``golf.compression.ans``.

A Gaussian's code length needs of its residuals only their number and the sum of their squares:

    bits(level) = n · log2 Z + Σ residual² · log2(e) / 2σ²,    Z = Σ_x exp(-x² / 2σ²)

so one product of the squares with the other side's levels gives the cost of every level for every row at once, or for
every column. A level also costs what it takes to name. Another machine may add up the costs in another order and choose
otherwise where two levels cost the same; the decoder is told what was chosen and doesn't care.
"""

# O output features (rows), I input features (columns), T templates, L levels, C classes in use

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.compression.ans import N_SIGMA_LEVELS

_TEMPLATE_COUNTS = (2, 4, 8)  # of templates, as long as more pay
_TALL_ASPECT = 4  # rows a column, beyond which several templates are worth a try: the embedding, no other matrix
_SAMPLE_ROWS, _SEED_ROWS = 1024, 64  # rows that templates are learned from, and of them those to start from
_N_ITERATIONS = 3  # more change nothing to speak of
_HALF_PRECISION_L = 32 * 0.8 ** np.arange(N_SIGMA_LEVELS)  # 1 / 2σ²
_BITS_PER_SQUARE_L = _HALF_PRECISION_L * np.log2(np.e)


@dataclass(frozen=True, slots=True)
class _MatrixFit:
    """What a matrix is coded under, all integers, and about how many bits it then takes."""

    templates_TI: np.ndarray
    template_index_O: np.ndarray
    row_level_O: np.ndarray
    column_level_I: np.ndarray
    bits: float


def fit_codes(codes_OI: np.ndarray) -> _MatrixFit:
    """The best found for a matrix with at least one element."""
    best = _fit_levels(codes_OI, np.zeros((1, codes_OI.shape[1]), codes_OI.dtype), np.zeros(len(codes_OI), np.int64))
    for n_templates in _candidate_template_counts(codes_OI):
        candidate = _fit_levels(codes_OI, *_kmeans_templates(codes_OI, n_templates))
        if candidate.bits >= best.bits:
            break
        best = candidate
    return best


def _candidate_template_counts(codes_OI: np.ndarray) -> tuple[int, ...]:
    """Numbers of templates worth a try: several for a tall matrix, its mean for one far from zero."""
    if len(codes_OI) > _TALL_ASPECT * codes_OI.shape[1]:
        return _TEMPLATE_COUNTS
    sample_NI = _subsample_rows(codes_OI, _SEED_ROWS)
    return (1,) if sample_NI.var(axis=0).sum() < (sample_NI.mean(axis=0) ** 2).sum() else ()


def _subsample_rows(codes_OI: np.ndarray, max_rows: int) -> np.ndarray:
    """At most so many rows, evenly spaced, in float64."""
    return codes_OI[:: -(-len(codes_OI) // max_rows)].astype(np.float64)


def _fit_levels(codes_OI: np.ndarray, templates_TI: np.ndarray, template_index_O: np.ndarray) -> _MatrixFit:
    """Levels for given templates: columns for rows that are alike, rows for these columns, columns for these rows."""
    square_OI = cap_outliers((codes_OI - templates_TI[template_index_O]).astype(np.float64) ** 2)
    row_level_O = np.zeros(len(codes_OI), np.int64)
    column_level_I, bits = choose_levels(square_OI.T, row_level_O, _gaussian_level_bits)
    level_O, _ = choose_levels(square_OI, column_level_I - column_level_I.min(), _brotli_level_bits)
    if (level_O != level_O[0]).any():
        row_level_O = level_O
        column_level_I, bits = choose_levels(square_OI.T, row_level_O, _gaussian_level_bits)
    side_info_bits = (
        _brotli_level_bits(row_level_O)[row_level_O].sum()
        + _brotli_level_bits(template_index_O)[template_index_O].sum()
        + 8 * templates_TI.size
    )
    return _MatrixFit(templates_TI, template_index_O, row_level_O, column_level_I, float(bits + side_info_bits))


def cap_outliers(square_OI: np.ndarray) -> np.ndarray:
    """An outlier of both its row and its column counts no more than what it takes to escape, about (8 σ + 16)²."""
    if square_OI.max() <= 256 + 128 * square_OI.mean():
        return square_OI
    median_O1 = np.median(_subsample_rows(square_OI.T, _SEED_ROWS), axis=0)[:, None]
    median_1I = np.median(_subsample_rows(square_OI, _SEED_ROWS), axis=0)[None]
    return np.minimum(square_OI, 256 + 128 * np.maximum(median_O1, median_1I))


def choose_levels(square_AB: np.ndarray, other_level_B: np.ndarray, level_bits: Callable) -> tuple[np.ndarray, float]:
    """A level for each of A, to be added to the other side's, and the bits of all codes and names under it.

    naming: bits of each level's name, given the levels in use. A level that few share must save what it costs to say.
    """
    used_C, class_B, n_C = np.unique(other_level_B, return_inverse=True, return_counts=True)
    level_CL = np.minimum(used_C[:, None] + np.arange(N_SIGMA_LEVELS), N_SIGMA_LEVELS - 1)
    bits_AL = (square_AB @ np.eye(len(used_C))[class_B]) @ _BITS_PER_SQUARE_L[level_CL] + n_C @ log2_partition()[
        level_CL
    ]
    level_A = bits_AL.argmin(axis=1)
    for _ in range(_N_ITERATIONS):
        total_bits_AL = bits_AL + level_bits(level_A)
        level_A = total_bits_AL.argmin(axis=1)
    bits, uniform_bits_L = float(np.take_along_axis(total_bits_AL, level_A[:, None], axis=1).sum()), bits_AL.sum(axis=0)
    if uniform_bits_L.min() < bits:
        return np.full(len(square_AB), uniform_bits_L.argmin()), float(uniform_bits_L.min())
    return level_A, bits


def _brotli_level_bits(level_A: np.ndarray) -> np.ndarray:
    """Bits of each level or choice where the used ones go through Brotli, as rows' do."""
    return -np.log2((np.bincount(level_A, minlength=N_SIGMA_LEVELS) + 0.5) / len(level_A))


def _gaussian_level_bits(level_A: np.ndarray) -> np.ndarray:
    """Bits of each level where the used ones are drawn from a Gaussian themselves, as columns' are."""
    center, level = fit_center_and_level(level_A)
    return log2_partition()[level] + _BITS_PER_SQUARE_L[level] * (np.arange(N_SIGMA_LEVELS) - center) ** 2


def fit_center_and_level(values_A: np.ndarray) -> tuple[int, int]:
    """The centre of some numbers, and the level that makes them shortest."""
    center = int(np.median(values_A))
    bits_L = ((values_A - center) ** 2).sum() * _BITS_PER_SQUARE_L + len(values_A) * log2_partition()
    return center, int(bits_L.argmin())


@functools.cache
def log2_partition() -> np.ndarray:
    """log2 Z of each level: the integral where it is wide, the sum where it is narrow; both are exact to 1e-8."""
    partition_L = 1 + 2 * np.exp(-np.outer(_HALF_PRECISION_L, np.arange(1, 10) ** 2)).sum(axis=1)
    return np.log2(np.where(_HALF_PRECISION_L < 0.5, np.sqrt(np.pi / _HALF_PRECISION_L), partition_L))


def _kmeans_templates(codes_OI: np.ndarray, n_templates: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` templates, and each row's choice, learned on a sample; columns are weighed by about 1 / variance.

    A row of squared distance d costs log2(d) / 2 a code, as it gets a level of its own. Hence k-means with means in
    which rows weigh 1 / d, from the mean and from those rows that save most.
    """
    x_SI = _subsample_rows(codes_OI, _SAMPLE_ROWS)
    center_TI = np.rint(x_SI.mean(axis=0, keepdims=True))
    weight_I = np.exp2(-np.rint(np.log2(((x_SI - center_TI) ** 2).mean(axis=0) + 1 / 64)))
    stride = -(-len(x_SI) // _SEED_ROWS)
    seeds_NI = x_SI[::stride]
    cost_SN = np.log2(_squared_distances(x_SI, seeds_NI, weight_I))
    np.fill_diagonal(cost_SN[::stride], np.inf)  # what a template of its own saves one row, the template costs
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
    """Weighed squared distance of each row to each centre, and what the coarsest rounding adds."""
    sq_dist_ST = (x_SI**2 @ weight_I)[:, None] - 2 * (x_SI * weight_I) @ center_TI.T + center_TI**2 @ weight_I
    return sq_dist_ST + weight_I.sum() / 12
