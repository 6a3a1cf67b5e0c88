"""Two runs on the same text, document by document: their difference, and what of it is noise.

Two noises are told apart: documents are a sample of all text (interval over documents), and a run is one of many that
other seeds would have given (interval over seeds). A typical spread between seeds of the contest's systems is 0.0005 to
0.0012 bpb, so three seeds resolve about 0.001 (record-stack 5.4, rules 3).
"""

import math
from dataclasses import dataclass

import numpy as np

from golf.score import bpb
from golf.score.ledger import Rows

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A difference in bpb (after less before) and its interval of LEVEL; error None where it can't be had."""

    value: float
    error: float | None  # standard error
    freedom: float  # degrees of freedom of Student's t

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        if self.error is None:
            return None
        from scipy import stats

        return float(stats.t.ppf((1 + LEVEL) / 2, self.freedom)) * self.error

    @property
    def noise(self) -> bool | None:
        """Whether the interval holds 0; None without an interval."""
        return None if self.half is None else abs(self.value) <= self.half


@dataclass(frozen=True)
class Change:
    """What changed from one run to another. bits: float64 [D], after less before; bytes: int64 [D]."""

    bits: np.ndarray
    bytes: np.ndarray

    @property
    def difference(self) -> Interval:
        """Of the two bpb, a ratio of sums, over documents drawn at random (delta method)."""
        value = float(self.bits.sum() / self.bytes.sum())
        return Interval(value, bpb.ratio_error(self.bits, self.bytes), len(self.bits) - 1)

    @property
    def better(self) -> float:
        """Share of the documents that take fewer bits."""
        return float(np.mean(self.bits < 0))

    @property
    def better_bytes(self) -> float:
        """Share of the text's bytes that lie in such documents."""
        return float(self.bytes[self.bits < 0].sum() / self.bytes.sum())

    def most(self, count: int) -> list[int]:
        """The documents that changed most, in bits, either way; the first of equal ones first."""
        return [int(i) for i in np.argsort(-np.abs(self.bits), kind="stable")[:count]]


def difference(before: list[Rows], after: list[Rows]) -> Change:
    """Of the means over each side's runs. All are on the same text: ``unlike`` finds nothing between them."""
    sides = [np.mean([bpb.by_document(rows)[0] for rows in side], axis=0) for side in (before, after)]
    return Change(sides[1] - sides[0], bpb.by_document(before[0])[1])


def unlike(one: Rows, other: Rows) -> str | None:
    """Why two ledgers are not of the same text; None where they are."""
    if len(one.nll) != len(other.nll):
        return f"{len(one.nll):,} targets against {len(other.nll):,}"
    totals = [int(rows.bytes.sum(dtype=np.int64)) for rows in (one, other)]
    if totals[0] != totals[1]:
        return f"{totals[0]:,} bytes against {totals[1]:,}"
    if not np.array_equal(one.bytes, other.bytes):
        return f"the bytes of target {int(np.flatnonzero(one.bytes != other.bytes)[0]):,} differ"
    if len(one.documents) != len(other.documents):
        return f"{len(one.documents):,} documents against {len(other.documents):,}"
    if not np.array_equal(one.documents, other.documents):
        number = int(np.flatnonzero(one.documents != other.documents)[0])
        return f"document {number:,} starts at target {one.documents[number]:,} against {other.documents[number]:,}"
    return None


def spread(scores: list[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the bpb of two runs or more."""
    return float(np.mean(scores)), float(np.std(scores, ddof=1))


def over_seeds(before: list[float], after: list[float]) -> Interval:
    """Of the means of two runs or more a side, seed against the same seed, in order."""
    changes = np.subtract(after, before)
    mean, sd = spread(changes)
    return Interval(mean, sd / math.sqrt(len(changes)), len(changes) - 1)


def welch(before: list[float], after: list[float]) -> Interval:
    """The same with each side's spread for itself and nothing paired: Welch's t, as the contest applied it (#1902)."""
    parts = np.array([spread(side)[1] ** 2 / len(side) for side in (before, after)])
    squares = float((parts**2 / [len(before) - 1, len(after) - 1]).sum())
    freedom = float(parts.sum() ** 2 / squares) if squares else float(len(before) + len(after) - 2)
    return Interval(float(np.mean(after) - np.mean(before)), math.sqrt(parts.sum()), freedom)
