import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.submission.claims import ReportedNumber, mean, parse_claims, parse_number


def test_a_figure_keeps_the_precision_it_was_written_with():
    assert parse_number("1.08100") == ReportedNumber(1.081, 1e-5)
    assert parse_number(Decimal("1.0810")).n_decimals == 4
    assert parse_number(42) == ReportedNumber(42.0, 1.0)
    assert parse_number("1.0799999999999998").n_decimals == 16, "as Python prints a float"


@pytest.mark.parametrize("text", ["nan", "inf", "-1.0", "1e400", "1e-400", "one", "", "9" * 5000, None, True, [1], 1.5])
def test_an_implausible_number_is_not_a_figure(text):
    assert parse_number(text) is None


@given(st.integers(10**8, 2 * 10**8), st.integers(1, 8))
def test_a_rounded_or_cut_copy_agrees_and_a_number_two_places_off_does_not(digits, places):
    exact = parse_number(Decimal(digits).scaleb(-8))
    for written in (round(exact.value, places), math.floor(exact.value * 10**places) / 10**places):
        copy = parse_number(Decimal(f"{written:.{places}f}"))
        assert exact.matches(copy)
        assert copy.matches(exact)
        assert not exact.matches(ReportedNumber(copy.value + 2.5 * copy.resolution, copy.resolution))


def test_a_mean_has_the_precision_of_its_coarsest_part():
    assert mean([parse_number("1.0"), parse_number("2.00")]) == ReportedNumber(1.5, 0.1)


@pytest.mark.parametrize(
    "tree",
    [
        {"seed_results": {"42": {"val_bpb": Decimal("1.08")}, "7": {"val_bpb": Decimal("1.09")}}},
        {"seed_results": {"seed_42": Decimal("1.08"), "7": Decimal("1.09")}},
        {"seed_results": [{"seed": 42, "val_bpb": Decimal("1.08")}, {"seed": 7, "val_bpb": Decimal("1.09")}]},
        {"seeds": {"42": {"val_bpb": Decimal("1.08")}, "7": {"val_bpb": Decimal("1.09")}}},
    ],
)
def test_scores_by_seed_are_found_in_every_published_form(tree):
    result = parse_claims(tree)
    assert {seed: one.bpb.value for seed, one in result.per_seed.items()} == {42: 1.08, 7: 1.09}
    assert result.listed_seeds == (7, 42)


def test_a_json_of_the_first_lineage_claims_one_score_and_its_bytes():
    result = parse_claims(
        {"val_loss": Decimal("2.07"), "val_bpb": Decimal("1.22"), "bytes_total": 15_863_068, "seed": 1337}
    )
    assert (result.bpb.value, result.loss.value, result.total_bytes, result.listed_seeds) == (
        1.22,
        2.07,
        15_863_068,
        (1337,),
    )
    assert result.is_record


@pytest.mark.parametrize("track", ["non_record_16mb", "non-record-unlimited-compute-16mb", "Non-record"])
def test_a_non_record_track_is_not_for_a_record(track):
    assert not parse_claims({"track": track}).is_record


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
keys = st.sampled_from(["val_bpb", "seeds", "seed", "seed_results", "runs", "42", "bytes_total", "track", "hardware"])


@given(st.dictionaries(keys, json_like))
def test_any_object_is_read_without_an_error(tree):
    parse_claims(tree)
