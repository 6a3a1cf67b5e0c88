from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from golf.submission.claims import parse_claims


@pytest.mark.parametrize(
    "tree",
    [
        {"seed_results": {"42": {"val_bpb": Decimal("1.08")}, "7": {"val_bpb": Decimal("1.09")}}},
        {"seed_results": {"seed_42": Decimal("1.08"), "7": Decimal("1.09")}},
        {"seed_results": [{"seed": 42, "val_bpb": Decimal("1.08")}, {"seed": 7, "val_bpb": Decimal("1.09")}]},
        {"seeds": {"42": {"val_bpb": Decimal("1.08")}, "7": {"val_bpb": Decimal("1.09")}}},
    ],
)
def test_scores_by_seed_are_found_in_the_forms_that_people_gave_them(tree):
    found = parse_claims(tree)
    assert {seed: one.bpb.value for seed, one in found.per_seed.items()} == {42: 1.08, 7: 1.09}
    assert found.listed_seeds == (7, 42)


def test_a_json_of_the_first_lineage_claims_one_score_and_its_bytes():
    found = parse_claims(
        {"val_loss": Decimal("2.07"), "val_bpb": Decimal("1.22"), "bytes_total": 15_863_068, "seed": 1337}
    )
    assert (found.bpb.value, found.loss.value, found.total_bytes, found.listed_seeds) == (
        1.22,
        2.07,
        15_863_068,
        (1337,),
    )
    assert found.is_record


@pytest.mark.parametrize("track", ["non_record_16mb", "non-record-unlimited-compute-16mb", "Non-record"])
def test_a_track_that_says_so_is_not_for_a_record(track):
    assert not parse_claims({"track": track}).is_record


json_like = some.recursive(
    some.none() | some.booleans() | some.integers() | some.decimals() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=12,
)
keys = some.sampled_from(["val_bpb", "seeds", "seed", "seed_results", "runs", "42", "bytes_total", "track", "hardware"])


@given(some.dictionaries(keys, json_like))
def test_any_object_is_read_without_an_error(tree):
    parse_claims(tree)
