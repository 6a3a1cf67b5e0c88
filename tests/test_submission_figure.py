import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from golf.submission.figure import Figure, figure, mean


def test_a_figure_knows_how_finely_it_was_written():
    assert figure("1.08100") == Figure(1.081, 1e-5)
    assert figure(Decimal("1.0810")).places == 4
    assert figure(42) == Figure(42.0, 1.0)
    assert figure("1.0799999999999998").places == 16, "as Python prints a float"


@pytest.mark.parametrize("text", ["nan", "inf", "-1.0", "1e400", "1e-400", "one", "", "9" * 5000, None, True, [1], 1.5])
def test_what_is_no_sensible_number_is_no_figure(text):
    assert figure(text) is None


@given(some.integers(10**8, 2 * 10**8), some.integers(1, 8))
def test_a_rounded_or_cut_copy_agrees_and_a_number_two_places_off_does_not(digits, places):
    exact = figure(Decimal(digits).scaleb(-8))
    for written in (round(exact.value, places), math.floor(exact.value * 10**places) / 10**places):
        copy = figure(Decimal(f"{written:.{places}f}"))
        assert exact.agrees(copy)
        assert copy.agrees(exact)
        assert not exact.agrees(Figure(copy.value + 2.5 * copy.unit, copy.unit))


def test_a_mean_is_as_fine_as_its_coarsest_part():
    assert mean([figure("1.0"), figure("2.00")]) == Figure(1.5, 0.1)
