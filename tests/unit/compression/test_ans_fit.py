"""golf.compression.ans_fit: levels and templates against a search by hand."""

import numpy as np
import pytest

from golf.compression import ans_fit
from golf.compression.ans import N_SIGMA_LEVELS


def ideal_bits(residual: np.ndarray, level: np.ndarray) -> float:
    """Code by code: -log2 of a discrete Gaussian."""
    total = 0.0
    for x, l in zip(residual.ravel().tolist(), level.ravel().tolist(), strict=True):
        fall = 32 * 0.8**l
        log_sum = np.log2(np.exp(-fall * np.arange(-300, 301.0) ** 2).sum())
        total += fall * x * x * np.log2(np.e) + log_sum
    return total


def test_the_cheapest_level_of_each_row_is_that_of_a_search_code_by_code():
    rng = np.random.default_rng(0)
    residual = np.rint(rng.normal(0, [[1], [3], [9]], (3, 12)))
    other = np.array([0, 2, 4] * 4)
    level, cost = ans_fit.choose_levels(residual**2, other, lambda used: np.zeros(N_SIGMA_LEVELS))
    searched = [[ideal_bits(row, np.minimum(at + other, N_SIGMA_LEVELS - 1)) for at in range(40)] for row in residual]
    assert level.tolist() == np.argmin(searched, axis=1).tolist()
    assert cost == pytest.approx(np.min(searched, axis=1).sum(), rel=1e-6)


def test_a_level_that_one_column_needs_must_save_more_than_its_name_costs():
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal(0, 2.4, (64, 100)))
    alike = ans_fit.fit_codes(codes.astype(np.int8))
    assert len(np.unique(alike.column_level_I)) == 1
    codes[:, 40] *= 4
    wider = ans_fit.fit_codes(codes.astype(np.int8))
    assert wider.column_level_I[40] >= np.delete(wider.column_level_I, 40).max() + 6
    assert len(np.unique(np.delete(wider.column_level_I, 40))) <= 4


@pytest.mark.parametrize("side", ["rows", "columns", "both"])
def test_spreads_of_rows_and_of_columns_are_found(side):
    rng = np.random.default_rng(0)
    row = np.repeat(2.0 ** rng.integers(0, 3, 90)[:, None], 120, axis=1) if side != "columns" else 1
    column = 2.0 ** rng.integers(0, 3, 120) if side != "rows" else 1
    codes = np.rint(rng.normal(0, 2, (90, 120)) * row * column).astype(np.int16)
    fit = ans_fit.fit_codes(codes)
    spread = np.sqrt(1.25 ** (fit.row_level_O[:, None] + fit.column_level_I) / 64)
    assert np.abs(np.log2(spread / (2 * row * column))).mean() < 0.2
    assert not fit.templates_TI.any()


def test_templates_are_learned_where_rows_of_a_tall_matrix_are_alike_and_nowhere_else():
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal(0, 6, (900, 40)))
    assert len(ans_fit.fit_codes(codes.astype(np.int8)).templates_TI) == 1
    codes[::3] = codes[0] + np.rint(rng.normal(0, 0.5, (300, 40)))
    fit = ans_fit.fit_codes(codes.astype(np.int8))
    alike = fit.template_index_O[::3]
    assert (alike == alike[0]).mean() > 0.99
    assert np.abs(fit.templates_TI[alike[0]] - codes[0]).max() <= 2
    assert fit.row_level_O[::3].max() < np.delete(fit.row_level_O, slice(None, None, 3)).min()


def test_a_constant_matrix_is_its_template():
    fit = ans_fit.fit_codes(np.full((30, 20), -77, np.int8))
    assert (fit.templates_TI[fit.template_index_O] == -77).all()
    assert not fit.row_level_O.any()
    assert not fit.column_level_I.any()


def test_an_outlier_of_row_and_column_is_bounded_and_a_wide_row_or_column_is_not():
    square = np.random.default_rng(0).normal(0, 5, (100, 100)) ** 2
    square[3], square[:, 7] = square[3] * 1e4, square[:, 7] * 1e4
    square[50, 60] = 1e9
    bounded = ans_fit.cap_outliers(square)
    assert bounded[50, 60] < 1e4
    square[50, 60] = bounded[50, 60]
    assert np.array_equal(bounded, square)


def test_the_estimate_is_near_what_the_section_takes():
    from golf.compression.writer import encode_ans

    codes = np.rint(np.random.default_rng(0).normal(0, 3, (2000, 64)) * 2.0 ** np.arange(64) ** 0.2).astype(np.int16)
    assert len(encode_ans([codes], 11)) == pytest.approx(ans_fit.fit_codes(codes).bits / 8, rel=0.01)


def test_zeros_cost_what_the_sum_over_all_integers_says():
    levels = np.arange(0, 60)
    x = np.arange(-6000, 6001.0)
    reference = [np.log2(np.exp(-32 * 0.8**level * x**2).sum()) for level in levels]
    assert np.allclose(ans_fit.log2_partition()[:60], reference, atol=1e-7)


def test_the_same_codes_are_fitted_the_same_whatever_their_layout_in_memory():
    codes = np.random.default_rng(0).integers(-20, 21, (500, 30)).astype(np.int8)
    one, other = ans_fit.fit_codes(codes), ans_fit.fit_codes(np.asfortranarray(codes))
    for name in ("templates_TI", "template_index_O", "row_level_O", "column_level_I"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
