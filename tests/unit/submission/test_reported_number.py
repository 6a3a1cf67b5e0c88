import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from golf.submission.reported_number import ReportedNumber, mean, parse_number


def test_a_figure_knows_how_finely_it_was_written():
    assert parse_number("1.08100") == ReportedNumber(1.081, 1e-5)
    assert parse_number(Decimal("1.0810")).n_decimals == 4
    assert parse_number(42) == ReportedNumber(42.0, 1.0)
    assert parse_number("1.0799999999999998").n_decimals == 16, "as Python prints a float"


@pytest.mark.parametrize("text", ["nan", "inf", "-1.0", "1e400", "1e-400", "one", "", "9" * 5000, None, True, [1], 1.5])
def test_what_is_no_sensible_number_is_no_figure(text):
    assert parse_number(text) is None


@given(some.integers(10**8, 2 * 10**8), some.integers(1, 8))
def test_a_rounded_or_cut_copy_agrees_and_a_number_two_places_off_does_not(digits, places):
    exact = parse_number(Decimal(digits).scaleb(-8))
    for written in (round(exact.value, places), math.floor(exact.value * 10**places) / 10**places):
        copy = parse_number(Decimal(f"{written:.{places}f}"))
        assert exact.matches(copy)
        assert copy.matches(exact)
        assert not exact.matches(ReportedNumber(copy.value + 2.5 * copy.resolution, copy.resolution))


def test_a_mean_is_as_fine_as_its_coarsest_part():
    assert mean([parse_number("1.0"), parse_number("2.00")]) == ReportedNumber(1.5, 0.1)
