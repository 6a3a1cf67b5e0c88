"""Which templates and widths make integer codes shortest under ``golf.codec.entropy``.

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

from golf.codec.entropy import LEVELS

COUNTS = (2, 4, 8)  # of templates, as long as more pay
TALL = 4  # rows a column, beyond which several templates are worth a try: the embedding, no other matrix
SAMPLE, SEEDS = 1024, 64  # rows that templates are learned from, and of them those to start from
ROUNDS = 3  # more change nothing to speak of
FALL_L = 32 * 0.8 ** np.arange(LEVELS)  # 1 / 2σ²
SQUARE_L = FALL_L * np.log2(np.e)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a matrix is coded under, all integers, and about how many bits it then takes."""

    templates_TI: np.ndarray
    choice_O: np.ndarray
    row_O: np.ndarray
    column_I: np.ndarray
    bits: float


def fit(codes_OI: np.ndarray) -> Fit:
    """The best found for a matrix with at least one element."""
    best = widths(codes_OI, np.zeros((1, codes_OI.shape[1]), codes_OI.dtype), np.zeros(len(codes_OI), np.int64))
    for count in counts(codes_OI):
        found = widths(codes_OI, *clusters(codes_OI, count))
        if found.bits >= best.bits:
            break
        best = found
    return best


def counts(codes_OI: np.ndarray) -> tuple[int, ...]:
    """Numbers of templates worth a try: several for a tall matrix, its mean for one far from zero."""
    if len(codes_OI) > TALL * codes_OI.shape[1]:
        return COUNTS
    few_NI = thinned(codes_OI, SEEDS)
    return (1,) if few_NI.var(axis=0).sum() < (few_NI.mean(axis=0) ** 2).sum() else ()


def thinned(codes_OI: np.ndarray, rows: int) -> np.ndarray:
    """At most so many rows, evenly spaced, in float64."""
    return codes_OI[:: -(-len(codes_OI) // rows)].astype(np.float64)


def widths(codes_OI: np.ndarray, templates_TI: np.ndarray, choice_O: np.ndarray) -> Fit:
    """Levels for given templates: columns for rows that are alike, rows for these columns, columns for these rows."""
    square_OI = bounded((codes_OI - templates_TI[choice_O]).astype(np.float64) ** 2)
    row_O = np.zeros(len(codes_OI), np.int64)
    column_I, bits = cheapest(square_OI.T, row_O, by_distance)
    level_O, _ = cheapest(square_OI, column_I - column_I.min(), by_frequency)
    if (level_O != level_O[0]).any():
        row_O = level_O
        column_I, bits = cheapest(square_OI.T, row_O, by_distance)
    named = by_frequency(row_O)[row_O].sum() + by_frequency(choice_O)[choice_O].sum() + 8 * templates_TI.size
    return Fit(templates_TI, choice_O, row_O, column_I, float(bits + named))


def bounded(square_OI: np.ndarray) -> np.ndarray:
    """An outlier of both its row and its column counts no more than what it takes to escape, about (8 σ + 16)²."""
    if square_OI.max() <= 256 + 128 * square_OI.mean():
        return square_OI
    usual_O1 = np.median(thinned(square_OI.T, SEEDS), axis=0)[:, None]
    usual_1I = np.median(thinned(square_OI, SEEDS), axis=0)[None]
    return np.minimum(square_OI, 256 + 128 * np.maximum(usual_O1, usual_1I))


def cheapest(square_AB: np.ndarray, other_B: np.ndarray, naming: Callable) -> tuple[np.ndarray, float]:
    """A level for each of A, to be added to the other side's, and the bits of all codes and names under it.

    naming: bits of each level's name, given the levels in use. A level that few share must save what it costs to say.
    """
    used_C, which_B, n_C = np.unique(other_B, return_inverse=True, return_counts=True)
    level_CL = np.minimum(used_C[:, None] + np.arange(LEVELS), LEVELS - 1)
    bits_AL = (square_AB @ np.eye(len(used_C))[which_B]) @ SQUARE_L[level_CL] + n_C @ zero_bits()[level_CL]
    level_A = bits_AL.argmin(axis=1)
    for _ in range(ROUNDS):
        named_AL = bits_AL + naming(level_A)
        level_A = named_AL.argmin(axis=1)
    bits, alike_L = float(np.take_along_axis(named_AL, level_A[:, None], axis=1).sum()), bits_AL.sum(axis=0)
    if alike_L.min() < bits:
        return np.full(len(square_AB), alike_L.argmin()), float(alike_L.min())
    return level_A, bits


def by_frequency(used_A: np.ndarray) -> np.ndarray:
    """Bits of each level or choice where the used ones go through Brotli, as rows' do."""
    return -np.log2((np.bincount(used_A, minlength=LEVELS) + 0.5) / len(used_A))


def by_distance(used_A: np.ndarray) -> np.ndarray:
    """Bits of each level where the used ones are drawn from a Gaussian themselves, as columns' are."""
    centre, level = centred(used_A)
    return zero_bits()[level] + SQUARE_L[level] * (np.arange(LEVELS) - centre) ** 2


def centred(numbers_A: np.ndarray) -> tuple[int, int]:
    """The centre of some numbers, and the level that makes them shortest."""
    centre = int(np.median(numbers_A))
    bits_L = ((numbers_A - centre) ** 2).sum() * SQUARE_L + len(numbers_A) * zero_bits()
    return centre, int(bits_L.argmin())


@functools.cache
def zero_bits() -> np.ndarray:
    """log2 Z of each level: the integral where it is wide, the sum where it is narrow; both are exact to 1e-8."""
    sums_L = 1 + 2 * np.exp(-np.outer(FALL_L, np.arange(1, 10) ** 2)).sum(axis=1)
    return np.log2(np.where(FALL_L < 0.5, np.sqrt(np.pi / FALL_L), sums_L))


def clusters(codes_OI: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` templates, and each row's choice, learned on a sample; columns are weighed by about 1 / variance.

    A row of squared distance d costs log2(d) / 2 a code, as it gets a level of its own. Hence k-means with means in
    which rows weigh 1 / d, from the mean and from those rows that save most.
    """
    x_SI = thinned(codes_OI, SAMPLE)
    centre_TI = np.rint(x_SI.mean(axis=0, keepdims=True))
    weight_I = np.exp2(-np.rint(np.log2(((x_SI - centre_TI) ** 2).mean(axis=0) + 1 / 64)))
    apart = -(-len(x_SI) // SEEDS)
    seeds_NI = x_SI[::apart]
    cost_SN = np.log2(distances(x_SI, seeds_NI, weight_I))
    np.fill_diagonal(cost_SN[::apart], np.inf)  # what a template of its own saves one row, the template costs
    cost_S = np.log2(distances(x_SI, centre_TI, weight_I)[:, 0])
    for _ in range(count - 1):
        seed = np.maximum(cost_S[:, None] - cost_SN, 0).sum(axis=0).argmax()
        cost_S = np.minimum(cost_S, cost_SN[:, seed])
        centre_TI = np.concatenate([centre_TI, seeds_NI[seed : seed + 1]])
    for _ in range(ROUNDS):
        square_ST = distances(x_SI, centre_TI, weight_I)
        member_ST = np.eye(count)[square_ST.argmin(axis=1)] * np.exp2(-np.rint(np.log2(square_ST)))
        members_T = member_ST.sum(axis=0)[:, None]
        means_TI = np.rint(member_ST.T @ x_SI / np.where(members_T > 0, members_T, 1))
        centre_TI = np.where(members_T > 0, means_TI, centre_TI)
    choice_O = distances(codes_OI.astype(np.float64), centre_TI, weight_I).argmin(axis=1)
    return centre_TI.astype(codes_OI.dtype), choice_O


def distances(x_SI: np.ndarray, centre_TI: np.ndarray, weight_I: np.ndarray) -> np.ndarray:
    """Weighed squared distance of each row to each centre, and what the coarsest rounding adds."""
    square_ST = (x_SI**2 @ weight_I)[:, None] - 2 * (x_SI * weight_I) @ centre_TI.T + centre_TI**2 @ weight_I
    return square_ST + weight_I.sum() / 12
