"""Two runs on the same text, document by document: their difference, and what of it is noise.

Two noises are told apart: documents are a sample of all text (interval over documents), and a run is one of many that
other seeds would have given (interval over seeds). A typical spread between seeds of the contest's systems is 0.0005 to
0.0012 bpb, so three seeds resolve about 0.001 (record-stack 5.4, rules 3).
"""

import math
from dataclasses import dataclass

import numpy as np

from golf.evaluation import bpb
from golf.evaluation.ledger import LedgerData

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class ConfidenceInterval:
    """A difference in bpb (after less before) and its interval of LEVEL; error None where it can't be had."""

    value: float
    standard_error: float | None  # standard error
    dof: float  # degrees of freedom of Student's t

    @property
    def half_width(self) -> float | None:
        """Half the interval's width."""
        if self.standard_error is None:
            return None
        from scipy import stats

        return float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, self.dof)) * self.standard_error

    @property
    def is_within_noise(self) -> bool | None:
        """Whether the interval holds 0; None without an interval."""
        return None if self.half_width is None else abs(self.value) <= self.half_width


@dataclass(frozen=True)
class PairedDifference:
    """What changed from one run to another. bits: float64 [D], after less before; bytes: int64 [D]."""

    bits: np.ndarray
    bytes: np.ndarray

    @property
    def bpb_difference(self) -> ConfidenceInterval:
        """Of the two bpb, a ratio of sums, over documents drawn at random (delta method)."""
        value = float(self.bits.sum() / self.bytes.sum())
        return ConfidenceInterval(value, bpb.compute_ratio_standard_error(self.bits, self.bytes), len(self.bits) - 1)

    @property
    def improved_fraction(self) -> float:
        """Share of the documents that take fewer bits."""
        return float(np.mean(self.bits < 0))

    @property
    def improved_bytes_fraction(self) -> float:
        """Share of the text's bytes that lie in such documents."""
        return float(self.bytes[self.bits < 0].sum() / self.bytes.sum())

    def largest_changes(self, count: int) -> list[int]:
        """The documents that changed most, in bits, either way; the first of equal ones first."""
        return [int(i) for i in np.argsort(-np.abs(self.bits), kind="stable")[:count]]


def compute_paired_difference(before: list[LedgerData], after: list[LedgerData]) -> PairedDifference:
    """Of the means over each side's runs. All are on the same text: ``unlike`` finds nothing between them."""
    mean_bits = [np.mean([bpb.sum_by_document(data)[0] for data in runs], axis=0) for runs in (before, after)]
    return PairedDifference(mean_bits[1] - mean_bits[0], bpb.sum_by_document(before[0])[1])


def find_text_mismatch(one: LedgerData, other: LedgerData) -> str | None:
    """Why two ledgers are not of the same text; None where they are."""
    if len(one.nll) != len(other.nll):
        return f"{len(one.nll):,} targets against {len(other.nll):,}"
    total_bytes = [int(data.bytes.sum(dtype=np.int64)) for data in (one, other)]
    if total_bytes[0] != total_bytes[1]:
        return f"{total_bytes[0]:,} bytes against {total_bytes[1]:,}"
    if not np.array_equal(one.bytes, other.bytes):
        return f"the bytes of target {int(np.flatnonzero(one.bytes != other.bytes)[0]):,} differ"
    if len(one.documents) != len(other.documents):
        return f"{len(one.documents):,} documents against {len(other.documents):,}"
    if not np.array_equal(one.documents, other.documents):
        document = int(np.flatnonzero(one.documents != other.documents)[0])
        return (
            f"document {document:,} starts at target {one.documents[document]:,} against {other.documents[document]:,}"
        )
    return None


def compute_mean_std(scores: list[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the bpb of two runs or more."""
    return float(np.mean(scores)), float(np.std(scores, ddof=1))


def compute_paired_interval(before: list[float], after: list[float]) -> ConfidenceInterval:
    """Of the means of two runs or more a side, seed against the same seed, in order."""
    differences = np.subtract(after, before)
    mean, std = compute_mean_std(differences)
    return ConfidenceInterval(mean, std / math.sqrt(len(differences)), len(differences) - 1)


def compute_welch_interval(before: list[float], after: list[float]) -> ConfidenceInterval:
    """The same with each side's spread for itself and nothing paired: Welch's t, as the contest applied it (#1902)."""
    squared_errors = np.array([compute_mean_std(scores)[1] ** 2 / len(scores) for scores in (before, after)])
    dof_denominator = float((squared_errors**2 / [len(before) - 1, len(after) - 1]).sum())
    dof = float(squared_errors.sum() ** 2 / dof_denominator) if dof_denominator else float(len(before) + len(after) - 2)
    return ConfidenceInterval(float(np.mean(after) - np.mean(before)), math.sqrt(squared_errors.sum()), dof)
