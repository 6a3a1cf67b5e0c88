"""Confidence intervals and Welch tests: whether one run is better than another, or the difference is noise.

Two sources of noise are kept apart. Documents are a sample of all text, which gives an interval over documents. A run
is one of many that other seeds would have produced, which gives an interval over seeds. The contest's systems have a
standard deviation of 0.0005 to 0.0012 bpb between seeds, so three seeds resolve about 0.001 bpb
(docs/references.md#seed-noise).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from golf.evaluation import bpb
from golf.evaluation.ledger import LedgerData

__all__ = [
    "CONFIDENCE_LEVEL",
    "ConfidenceInterval",
    "PairedDifference",
    "PairedTest",
    "SampleStats",
    "WelchTest",
    "compute_paired_difference",
    "compute_paired_interval",
    "compute_welch_interval",
    "estimate_ratio",
    "find_text_mismatch",
    "run_paired_test",
    "run_welch_test",
    "summarize",
]

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class ConfidenceInterval:
    """A difference in bpb (after minus before) or a ratio, plus or minus half of its interval at CONFIDENCE_LEVEL.

    half_width: None if the data allow no interval.
    """

    value: float
    half_width: float | None

    @property
    def is_within_noise(self) -> bool | None:
        """Whether the interval contains 0; None without an interval."""
        return None if self.half_width is None else abs(self.value) <= self.half_width


@dataclass(frozen=True)
class PairedDifference:
    """The change from one run to another on the same text.

    bits: float64 [D], after minus before for each document. bytes: int64 [D], the size of each document.
    """

    bits: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.int64]

    @property
    def bpb_difference(self) -> ConfidenceInterval:
        """The difference in bpb, a ratio of sums, and its interval over documents (delta method, Student's t)."""
        return estimate_ratio(self.bits, self.bytes)

    @property
    def improved_fraction(self) -> float:
        """The fraction of documents that take fewer bits after than before."""
        return float(np.mean(self.bits < 0))

    @property
    def improved_bytes_fraction(self) -> float:
        """The fraction of the text's bytes that lie in such documents."""
        return float(self.bytes[self.bits < 0].sum() / self.bytes.sum())

    def find_largest_changes(self, count: int) -> list[int]:
        """Return the indices of the documents whose bits changed most in either direction; ties in document order."""
        return [int(i) for i in np.argsort(-np.abs(self.bits), kind="stable")[:count]]


def estimate_ratio(numerators: np.ndarray, denominators: np.ndarray) -> ConfidenceInterval:
    """Return Σ numerators / Σ denominators, [D] by document, and its interval (delta method, Student's t)."""
    value = float(numerators.sum() / denominators.sum())
    standard_error = bpb.compute_ratio_standard_error(numerators, denominators)
    if standard_error is None:
        return ConfidenceInterval(value, None)
    quantile = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(numerators) - 1))
    return ConfidenceInterval(value, quantile * standard_error)


def compute_paired_difference(before: list[LedgerData], after: list[LedgerData]) -> PairedDifference:
    """Return the difference between the means over each side's runs, document by document.

    All ledgers must be of the same text: ``find_text_mismatch`` returns None for each pair.
    """
    mean_bits = [np.mean([bpb.sum_by_document(data)[0] for data in runs], axis=0) for runs in (before, after)]
    return PairedDifference(mean_bits[1] - mean_bits[0], bpb.sum_by_document(before[0])[1])


def find_text_mismatch(one: LedgerData, other: LedgerData) -> str | None:
    """Return why two ledgers are not of the same text; None if they are."""
    if len(one.nll) != len(other.nll):
        return f"{len(one.nll):,} and {len(other.nll):,} targets"
    total_bytes = [int(data.bytes.sum(dtype=np.int64)) for data in (one, other)]
    if total_bytes[0] != total_bytes[1]:
        return f"{total_bytes[0]:,} and {total_bytes[1]:,} bytes"
    if not np.array_equal(one.bytes, other.bytes):
        return f"the bytes of target {int(np.flatnonzero(one.bytes != other.bytes)[0]):,} differ"
    if len(one.document_starts) != len(other.document_starts):
        return f"{len(one.document_starts):,} and {len(other.document_starts):,} documents"
    if not np.array_equal(one.document_starts, other.document_starts):
        document = int(np.flatnonzero(one.document_starts != other.document_starts)[0])
        starts = f"{one.document_starts[document]:,} and {other.document_starts[document]:,}"
        return f"document {document:,} starts at target {starts}"
    return None


@dataclass(frozen=True, slots=True)
class SampleStats:
    """Mean, sample standard deviation (n - 1; None for a single value) and number of scores."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, slots=True)
class WelchTest:
    """A one-sided Welch test of whether our mean is lower than the baseline's by more than ``min_gain``.

    gain: the baseline's mean minus ours. t, df, p: statistic (positive if ours is lower by more), degrees of freedom,
    p-value. standard_error: that of the gain.
    """

    gain: float
    t: float
    df: float
    p: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The same for scores that are paired by seed: Student's t of the differences, with one fewer degree of freedom."""

    gain: float
    t: float
    df: float
    p: float
    standard_error: float


def summarize(scores: Sequence[float]) -> SampleStats:
    """Return the mean and standard deviation of one score or more."""
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return SampleStats(float(np.mean(scores)), std, len(scores))


def compute_paired_interval(before: Sequence[float], after: Sequence[float]) -> ConfidenceInterval:
    """Return the difference of the means of two runs or more on each side, paired by seed, in order (Student's t)."""
    return _to_interval(float(np.mean(np.subtract(after, before))), _run_test(stats.ttest_rel, after, before))


def compute_welch_interval(before: Sequence[float], after: Sequence[float]) -> ConfidenceInterval:
    """Return the same without pairing, with a variance for each side: Welch's t, as the contest applied it (#1902)."""
    result = _run_test(stats.ttest_ind, after, before, equal_var=False)
    return _to_interval(float(np.mean(after) - np.mean(before)), result)


def run_welch_test(ours: Sequence[float], baseline: Sequence[float], min_gain: float = 0.0) -> WelchTest | None:
    """Test one-sided whether our mean is lower by more than ``min_gain``, with a variance a side (Welch, 1947).

    None if the test is undefined: fewer than two scores on a side, or no spread on either.
    """
    if min(len(ours), len(baseline)) < 2 or (min(ours) == max(ours) and min(baseline) == max(baseline)):
        return None
    raised = [score + min_gain for score in ours]
    result = _run_test(stats.ttest_ind, raised, baseline, equal_var=False, alternative="less")
    gain = float(np.mean(baseline) - np.mean(ours))
    standard_error = float(np.sqrt(sum(np.var(side, ddof=1) / len(side) for side in (ours, baseline))))
    return WelchTest(gain, -float(result.statistic), float(result.df), float(result.pvalue), standard_error)


def run_paired_test(ours: Sequence[float], baseline: Sequence[float], min_gain: float = 0.0) -> PairedTest | None:
    """Test the same of scores that are paired by seed, in order.

    None if the test is undefined: fewer than two pairs, or no spread of the differences.
    """
    gains = np.subtract(baseline, ours)
    if len(gains) < 2 or gains.min() == gains.max():
        return None
    raised = [score + min_gain for score in ours]
    result = _run_test(stats.ttest_rel, raised, baseline, alternative="less")
    standard_error = float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
    return PairedTest(
        float(gains.mean()), -float(result.statistic), float(result.df), float(result.pvalue), standard_error
    )


def _to_interval(value: float, test_result: Any) -> ConfidenceInterval:
    interval = test_result.confidence_interval(CONFIDENCE_LEVEL)
    return ConfidenceInterval(float(value), float(interval.high - interval.low) / 2)


def _run_test(test: Callable[..., Any], *samples: Sequence[float], **options: object) -> Any:
    """scipy's result. It warns if the values of a sample are nearly equal, which the result shows by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return test(*samples, **options)
