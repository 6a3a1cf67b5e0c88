"""golf/evaluation/significance.py, against sums in plain Python, a jackknife, a bootstrap and scipy's own tests"""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from golf.evaluation import significance
from golf.evaluation.ledger import Ledger, LedgerData

BOS = 1
QUANTILE_299 = 1.967930  # of Student's t with 299 degrees of freedom, 95 % two-sided


def rows(documents: list[tuple[list[float], list[int]]]) -> LedgerData:
    """A ledger's columns of documents, each its nll and bytes by target; the first target of the first is no BOS."""
    ledger = Ledger("plain", bos=BOS)
    nll = [value for document, _ in documents for value in document]
    n_bytes = [value for _, document in documents for value in document]
    tokens = [BOS] + [BOS if i == 0 else 2 for _, sizes in documents for i in range(len(sizes))]
    ledger.append(np.array(tokens, dtype=np.uint16), nll, n_bytes, is_last=True)
    return ledger.to_data()


def corpus(rng, count: int = 40, sizes=None) -> list[tuple[list[float], list[int]]]:
    """Documents of 3 to 30 targets with bytes that do not depend on the nll."""
    sizes = rng.integers(3, 30, count) if sizes is None else sizes
    return [(rng.gamma(4, 0.6, n).tolist(), [4] * n) for n in sizes]


def test_the_difference_is_that_of_the_two_bpb_and_no_mean_of_documents():
    before = [([2.0, 2.0], [3, 4]), ([1.0] * 6, [5] * 6), ([3.0], [2])]
    after = [([1.0, 2.5], [3, 4]), ([1.5] * 6, [5] * 6), ([2.0], [2])]
    change = significance.compute_paired_difference([rows(before)], [rows(after)])

    bits = [(sum(b[0]) - sum(a[0])) / math.log(2) for a, b in zip(before, after, strict=True)]
    size = [sum(a[1]) for a in before]
    assert change.bits.dtype == np.float64
    np.testing.assert_allclose(change.bits, bits, rtol=1e-12)
    assert change.bytes.tolist() == size
    assert change.bpb_difference.value == pytest.approx(sum(bits) / sum(size), rel=1e-12)
    mean = sum(bits) / sum(size)
    squares = sum((b - mean * s) ** 2 for b, s in zip(bits, size, strict=True))
    standard_error = math.sqrt(3 / 2 * squares) / sum(size)
    assert change.bpb_difference.half_width == pytest.approx(4.302652730 * standard_error, rel=1e-8)  # t of 2, table


def test_the_share_that_got_better_counts_documents_and_their_bytes():
    before = [([2.0], [10]), ([2.0], [30]), ([2.0], [60]), ([2.0], [100])]
    after = [([1.0], [10]), ([1.9], [30]), ([2.0], [60]), ([2.2], [100])]
    change = significance.compute_paired_difference([rows(before)], [rows(after)])
    assert change.improved_fraction == 0.5
    assert change.improved_bytes_fraction == 40 / 200
    assert change.find_largest_changes(3) == [0, 3, 1]
    assert change.find_largest_changes(9) == [0, 3, 1, 2]


def test_the_documents_of_several_runs_are_compared_by_their_means():
    rng = np.random.default_rng(3)
    sizes = rng.integers(3, 30, 20)
    sides = [[rows(corpus(rng, sizes=sizes)) for _ in range(3)] for _ in range(2)]
    change = significance.compute_paired_difference(*sides)
    each = [significance.compute_paired_difference([a], [b]) for a, b in zip(*sides, strict=True)]
    np.testing.assert_allclose(change.bits, np.mean([one.bits for one in each], axis=0), rtol=1e-9)


def changed(rng, count: int) -> significance.PairedDifference:
    n_bytes = rng.integers(200, 4000, count)
    return significance.PairedDifference(n_bytes * rng.normal(-0.01, 0.05, count), n_bytes)


def test_the_interval_is_the_jackknifes():
    change = changed(np.random.default_rng(5), 300)
    keep = ~np.eye(300, dtype=bool)
    left_out = np.array([change.bits[row].sum() / change.bytes[row].sum() for row in keep])
    jackknife = math.sqrt(299 / 300 * np.square(left_out - left_out.mean()).sum())
    assert change.bpb_difference.half_width == pytest.approx(QUANTILE_299 * jackknife, rel=0.02)


def test_the_interval_is_the_bootstraps():
    rng = np.random.default_rng(6)
    change = changed(rng, 300)
    drawn = rng.integers(0, 300, (4000, 300))
    resampled = change.bits[drawn].sum(axis=1) / change.bytes[drawn].sum(axis=1)
    assert change.bpb_difference.half_width == pytest.approx(QUANTILE_299 * resampled.std(ddof=1), rel=0.06)


def test_two_runs_that_differ_by_chance_alone_are_within_noise_19_times_in_20():
    rng = np.random.default_rng(7)
    trials = 1000
    within = 0
    for _ in range(trials):
        n_bytes = rng.integers(200, 4000, 60)
        bits = n_bytes * rng.normal(0, 0.05, 60)
        within += significance.PairedDifference(bits, n_bytes).bpb_difference.is_within_noise
    assert 0.93 <= within / trials <= 0.97


def test_a_difference_of_three_standard_errors_is_larger_than_noise():
    rng = np.random.default_rng(8)
    change = changed(rng, 400)
    assert change.bpb_difference.is_within_noise is False
    assert (
        significance.PairedDifference(
            change.bits * 0 + rng.normal(0, 1, 400), change.bytes
        ).bpb_difference.is_within_noise
        is True
    )


def test_the_same_run_twice_is_within_noise_and_no_document_better():
    once = [rows(corpus(np.random.default_rng(9)))]
    change = significance.compute_paired_difference(once, once)
    assert (change.bpb_difference.value, change.bpb_difference.half_width) == (0.0, 0.0)
    assert change.bpb_difference.is_within_noise is True
    assert change.improved_fraction == change.improved_bytes_fraction == 0


def test_one_document_has_no_interval_and_no_conclusion():
    change = significance.compute_paired_difference([rows([([1.0, 2.0], [3, 4])])], [rows([([1.0, 1.0], [3, 4])])])
    assert change.bpb_difference.half_width is None
    assert change.bpb_difference.is_within_noise is None


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_turning_the_comparison_round_turns_the_sign_and_nothing_else(count, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 30, count)
    one, other = (rows(corpus(rng, sizes=sizes)) for _ in range(2))
    there, back = (
        significance.compute_paired_difference([one], [other]).bpb_difference,
        significance.compute_paired_difference([other], [one]).bpb_difference,
    )
    assert there.value == -back.value
    assert there.half_width == back.half_width
    assert there.is_within_noise == back.is_within_noise


# ---- over seeds

BEFORE, AFTER = [1.0812, 1.0805, 1.0821], [1.0801, 1.0799, 1.0808]


def test_the_spread_between_seeds_is_the_sample_standard_deviation():
    summary = significance.summarize([1.0, 2.0, 4.0])
    assert (summary.mean, summary.n) == (pytest.approx(7 / 3), 3)
    assert summary.std == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2))


def test_seeds_in_pairs_give_the_interval_of_scipys_paired_test():
    interval = significance.compute_paired_interval(BEFORE, AFTER)
    expected = stats.ttest_rel(AFTER, BEFORE).confidence_interval(0.95)
    assert interval.value - interval.half_width == pytest.approx(expected.low, rel=1e-9)
    assert interval.value + interval.half_width == pytest.approx(expected.high, rel=1e-9)
    assert interval.is_within_noise is bool(expected.low <= 0 <= expected.high)


def test_seeds_for_themselves_give_the_interval_of_scipys_welch_test():
    before = [*BEFORE, 1.0815]
    interval = significance.compute_welch_interval(before, AFTER)
    expected = stats.ttest_ind(AFTER, before, equal_var=False).confidence_interval(0.95)
    assert interval.value - interval.half_width == pytest.approx(expected.low, rel=1e-9)
    assert interval.value + interval.half_width == pytest.approx(expected.high, rel=1e-9)


def test_seeds_that_all_give_the_same_have_an_interval_of_no_width():
    interval = significance.compute_welch_interval([1.0, 1.0], [0.9, 0.9])
    assert (interval.half_width, interval.is_within_noise) == (0.0, False)


# ---- one-sided Welch test

SCORES = st.lists(st.floats(0.5, 2.0), min_size=2, max_size=8)


@given(SCORES)
def test_mean_and_spread_equal_those_of_the_standard_library(scores):
    summary = significance.summarize(scores)
    assert summary.mean == pytest.approx(statistics.mean(scores))
    assert summary.std == pytest.approx(statistics.stdev(scores), abs=1e-12)


def test_a_single_score_has_no_spread():
    assert significance.summarize([1.5]) == significance.SampleStats(1.5, None, 1)


@pytest.mark.parametrize(("ours", "baseline"), [(AFTER, BEFORE), ([1.0801, 1.0809], [1.0811, 1.0795, 1.082, 1.0813])])
def test_the_welch_test_and_interval_equal_welchs_formulas(ours, baseline):
    """t = gain / sqrt(a + b) with a, b = variance / n; df = (a + b)² / (a² / (n - 1) + b² / (n - 1))."""
    test, interval = significance.run_welch_test(ours, baseline), significance.compute_welch_interval(baseline, ours)
    a, b = (statistics.variance(scores) / len(scores) for scores in (ours, baseline))
    gain = math.fsum(baseline) / len(baseline) - math.fsum(ours) / len(ours)
    t, df = gain / math.sqrt(a + b), (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(baseline) - 1))
    expected = (gain, t, df, stats.t.sf(t, df))
    assert (test.gain, test.t, test.df, test.p) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert interval.value == pytest.approx(-gain, abs=1e-12)
    assert interval.half_width == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(a + b), abs=1e-12)


def test_a_worse_score_has_a_p_above_a_half():
    assert significance.run_welch_test([1.2, 1.3], [1.0, 1.1]).p > 0.5


@pytest.mark.parametrize(("ours", "baseline"), [([1.0], [1.1, 1.2]), ([1.0, 1.1], [1.2]), ([1.0, 1.0], [1.1, 1.1])])
def test_without_two_scores_a_side_and_some_spread_there_is_no_test(ours, baseline):
    assert significance.run_welch_test(ours, baseline) is None


# ---- the same text

TEXT = [([1.0, 2.0, 3.0], [3, 4, 5]), ([1.0, 2.0], [6, 7])]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([TEXT[0]], "5 and 3 targets"),
        ([([1.0, 2.0, 3.0], [3, 4, 5]), ([1.0, 2.0], [6, 8])], "25 and 26 bytes"),
        ([([1.0, 2.0, 3.0], [4, 3, 5]), ([1.0, 2.0], [6, 7])], "the bytes of target 0 differ"),
        ([([1.0, 2.0, 3.0, 1.0, 2.0], [3, 4, 5, 6, 7])], "2 and 1 documents"),
        ([([1.0, 2.0], [3, 4]), ([3.0, 1.0, 2.0], [5, 6, 7])], "document 1 starts at target 3 and 2"),
    ],
)
def test_ledgers_of_different_texts_are_distinguished_with_how_they_differ(other, said):
    assert significance.find_text_mismatch(rows(TEXT), rows(other)) == said


def test_other_scores_of_the_same_text_are_of_the_same_text():
    assert significance.find_text_mismatch(rows(TEXT), rows([([9.0] * 3, [3, 4, 5]), ([9.0] * 2, [6, 7])])) is None


# ---- worked checks of the contest


def test_the_welch_test_gives_the_worked_check_of_pr_1967():
    """Its row: difference .00224, standard error .000582, t 3.85, df 5, p .006, one-sided.

    Three and four scores whose variances over their counts stand as 0.4 to 0.6 have exactly 5 degrees of freedom.
    """
    gain, variance = 0.00224, 0.000582**2
    step_ours, step_theirs = math.sqrt(3 * 0.4 * variance), math.sqrt(4 * 0.6 * variance * 3 / 4)
    ours = [1.06 - step_ours, 1.06, 1.06 + step_ours]
    theirs = [1.06 + gain + sign * step_theirs for sign in (-1, -1, 1, 1)]
    test = significance.run_welch_test(ours, theirs)
    assert (test.gain, test.standard_error, test.df) == pytest.approx((gain, 0.000582, 5.0), rel=1e-9)
    assert (round(test.t, 2), round(test.p, 3)) == (3.85, 0.006)


def test_the_paired_test_gives_the_worked_check_of_pr_2060():
    """Its row: t -6.73 (after minus before), df 2, p .011, one-sided, a gain of .00107 between runs of equal seeds."""
    gain = 0.00107
    step = gain * math.sqrt(3) / 6.73
    ours = [1.0579, 1.0585, 1.0571]
    theirs = [score + gain + sign * step for score, sign in zip(ours, (-1, 0, 1), strict=True)]
    test = significance.run_paired_test(ours, theirs)
    assert (test.gain, test.t, test.df) == pytest.approx((gain, 6.73, 2.0), rel=1e-9)
    assert round(test.p, 3) == 0.011


@pytest.mark.parametrize("method", [significance.run_welch_test, significance.run_paired_test])
@given(ours=st.lists(st.floats(0.9, 1.1), min_size=3, max_size=3), min_gain=st.floats(-0.01, 0.01))
def test_a_gain_above_a_minimum_is_a_gain_above_0_of_scores_that_are_worse_by_it(method, ours, min_gain):
    theirs = [1.0, 1.05, 1.2]
    test, shifted = method(ours, theirs, min_gain), method([score + min_gain for score in ours], theirs)
    assert (test is None) == (shifted is None)
    if test is not None:
        assert (test.t, test.df, test.p) == pytest.approx((shifted.t, shifted.df, shifted.p), abs=1e-9)
        assert test.gain == pytest.approx(np.mean(theirs) - np.mean(ours))


def test_pairs_without_spread_or_of_one_seed_have_no_test():
    assert significance.run_paired_test([1.0], [1.1]) is None
    assert significance.run_paired_test([1.0, 2.0], [1.5, 2.5]) is None
