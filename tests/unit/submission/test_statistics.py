import statistics as library

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import ttest_ind

from golf.submission.statistics import summarize, welch_test

values = some.lists(some.floats(0.5, 2.0), min_size=2, max_size=8)


@given(values)
def test_mean_and_spread_are_those_of_the_standard_library(scores):
    found = summarize(scores)
    assert found.mean == pytest.approx(library.mean(scores))
    assert found.sd == pytest.approx(library.stdev(scores), abs=1e-12)


def test_welchs_test_is_that_of_scipy():
    ours, theirs = [1.0801, 1.0803, 1.0805], [1.0811, 1.0809, 1.0820, 1.0813]
    found = welch_test(summarize(ours), summarize(theirs))
    reference = ttest_ind(ours, theirs, equal_var=False, alternative="less")
    assert found.gain == pytest.approx(sum(theirs) / 4 - sum(ours) / 3)
    assert (-found.t, found.df, found.p) == pytest.approx((reference.statistic, reference.df, reference.pvalue))


def test_a_worse_score_has_a_p_above_a_half():
    assert welch_test(summarize([1.2, 1.3]), summarize([1.0, 1.1])).p > 0.5


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.1, 1.2]), ([1.0, 1.1], [1.2]), ([1.0, 1.0], [1.1, 1.1])])
def test_without_two_scores_a_side_and_some_spread_there_is_no_test(ours, theirs):
    assert welch_test(summarize(ours), summarize(theirs)) is None
