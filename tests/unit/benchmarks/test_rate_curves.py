"""benchmarks/rate_curves.py: bytes at equal divergence, inside the measured range only"""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import rate_curves
from rate_curves import Curve

TOKENS = np.array([10, 20, 30, 40])


def make_curve(sizes, kl_by_token, tilt: float = 0.0) -> Curve:
    """A curve whose divergence differs between documents by ``tilt``."""
    by_document = np.outer(kl_by_token, TOKENS * (1 + tilt * np.array([1, -1, 1, -1])))
    return Curve(np.array(sizes), by_document)


def test_between_two_points_bytes_are_linear_in_the_log_of_the_divergence():
    sizes, kl = np.array([300, 100, 200]), np.array([1e-4, 1e-2, 1e-3])
    assert rate_curves.bytes_at(sizes, kl, 1e-3) == 200
    assert rate_curves.bytes_at(sizes, kl, math.sqrt(1e-5)) == pytest.approx(150)
    assert rate_curves.bytes_at(sizes, kl, 10**-3.25) == pytest.approx(225)


@pytest.mark.parametrize("target", [0.99e-4, 1.01e-2, 1.0])
def test_there_is_no_figure_outside_the_measured_range(target):
    sizes, kl = np.array([300, 100, 200]), np.array([1e-4, 1e-2, 1e-3])
    assert rate_curves.bytes_at(sizes, kl, target) is None
    curve = make_curve(sizes, kl)
    ratio = rate_curves.compare_bytes(curve, curve, target * TOKENS, TOKENS)
    assert ratio == rate_curves.ByteRatio(None)
    assert rate_curves.format_ratio(ratio) == "outside the range"


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-6, 1)), min_size=1, max_size=8), st.data())
def test_a_measured_divergence_is_met_by_its_own_bytes_or_fewer(points, data):
    sizes, kl = (np.array(column) for column in zip(*points, strict=True))
    index = data.draw(st.integers(0, len(points) - 1))
    assert min(sizes) <= rate_curves.bytes_at(sizes, kl, kl[index]) <= sizes[index]


def test_a_curve_that_noise_makes_cross_a_divergence_three_times_counts_where_it_is_first():
    sizes, kl = np.array([100, 200, 300, 400]), np.array([1e-2, 1e-4, 1e-2, 1e-4])
    assert rate_curves.bytes_at(sizes, kl, 1e-3) == pytest.approx(150)


def test_a_curve_of_half_the_bytes_has_the_ratio_a_half_on_any_documents():
    theirs = make_curve([100, 200, 300], [1e-2, 1e-3, 1e-4], tilt=0.5)
    ours = make_curve([50, 100, 150], [1e-2, 1e-3, 1e-4], tilt=0.5)
    ratio = rate_curves.compare_bytes(ours, theirs, theirs.kl[1], TOKENS)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_is_wider_where_documents_disagree_and_holds_the_value():
    theirs = make_curve([100, 200, 300], [1e-2, 1e-3, 1e-4])
    widths = []
    for tilt in (0.1, 0.4):
        ours = make_curve([50, 100, 150], [1e-2, 1e-3, 1e-4], tilt)
        ratio = rate_curves.compare_bytes(ours, theirs, theirs.kl[1], TOKENS)
        assert ratio.low < ratio.value < ratio.high
        widths.append(ratio.high - ratio.low)
    assert widths[0] < widths[1]


def test_a_ratio_whose_resamples_leave_the_range_has_no_interval():
    theirs = make_curve([100, 200, 300], [1e-2, 1e-3, 1e-4])
    ours = make_curve([50, 100, 150], [1e-2, 1e-3, 1.01e-4], tilt=0.5)
    ratio = rate_curves.compare_bytes(ours, theirs, 1.02e-4 * TOKENS, TOKENS)
    assert ratio.value is not None
    assert ratio.low is ratio.high is None


def test_a_divergence_that_is_not_above_rounding_is_refused_and_not_left_out():
    with pytest.raises(ValueError, match=r"-1e-05 nats at 300 bytes is not above rounding"):
        Curve(np.array([100, 300]), np.array([[1e-3, 0], [1e-5, -2e-5]]))


def test_seeds_are_pooled_by_their_log_ratio_and_a_missing_one_leaves_no_value():
    pooled = rate_curves.pool_over_seeds([0.5, 0.8, 0.64])
    assert pooled.value == pytest.approx((0.5 * 0.8 * 0.64) ** (1 / 3))
    assert pooled.low < 0.5 < 0.8 < pooled.high
    assert rate_curves.pool_over_seeds([0.5, None, 0.64]) == rate_curves.ByteRatio(None)
    assert rate_curves.pool_over_seeds([0.5]) == rate_curves.ByteRatio(0.5)


def test_the_hull_keeps_the_pairs_that_no_pair_and_no_mixture_of_two_beats():
    sizes = np.array([100, 150, 200, 200, 250, 300, 260])
    kl = np.array([1e-1, 1e-1, 1e-3, 2e-3, 1e-3, 1e-4, 9e-4])
    assert rate_curves.lower_hull(sizes, kl) == [0, 2, 5]
