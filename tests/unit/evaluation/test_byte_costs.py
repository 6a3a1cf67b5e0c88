"""golf/evaluation/byte_costs.py: a token's nats as those of its bytes and its end"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.errors import ArtifactError
from golf.evaluation.byte_costs import ByteCosts, ByteCostSplitter

PIECES = [b"", b"a", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"a\xff", b"ab", b"bc"]  # two ids are the same text


def slow_split(probs: np.ndarray, token: int) -> list[float]:
    """Each conditional probability by its definition."""
    piece = PIECES[token]
    masses = [
        sum(p for p, other in zip(probs, PIECES, strict=True) if other.startswith(piece[:k]))
        for k in range(len(piece) + 1)
    ]
    return [-math.log(b / a) for a, b in zip(masses, [*masses[1:], probs[token]], strict=True)]


@given(st.lists(st.floats(-30, 0), min_size=len(PIECES), max_size=len(PIECES)), st.integers(0, len(PIECES) - 1))
def test_each_byte_costs_what_its_conditional_probability_says_and_the_sum_is_the_tokens(logits, token):
    log_probs = np.array(logits) - np.log(np.exp(logits).sum())
    events = ByteCostSplitter(PIECES).split_nll(log_probs, token)
    np.testing.assert_allclose(events, slow_split(np.exp(log_probs), token), atol=1e-9)
    assert events.sum() == pytest.approx(-log_probs[token], abs=1e-12)


def test_the_last_byte_of_all_has_no_next_string():
    probs = np.full(len(PIECES), 1 / len(PIECES))
    events = ByteCostSplitter(PIECES).split_nll(np.log(probs), PIECES.index(b"\xff\xff"))
    np.testing.assert_allclose(np.exp(-events), [2 / 10, 1 / 2, 1])


def make_costs() -> ByteCosts:
    return ByteCosts(np.array([1, 2, 0.5, 0.25, 4, 3, 2, 1], np.float32), np.array([2, 0, 3], np.int32))


def test_events_are_added_up_by_target_and_by_place():
    costs = make_costs()
    assert costs.sum_by_target().tolist() == [3.5, 0.25, 10]
    places = {place.name: (place.n_events, place.nats) for place in costs.tabulate_places(2)}
    assert places == {"byte 1": (2, 5), "byte 2": (2, 5), "byte 3 on": (1, 2), "end": (3, 1.75)}


def test_costs_come_back_and_those_whose_events_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "bytes.safetensors"
    make_costs().save(path, mode="ttt")
    costs, metadata = ByteCosts.load(path)
    assert costs.sum_by_target().tolist() == [3.5, 0.25, 10]
    assert metadata["mode"] == "ttt"
    ByteCosts(make_costs().nats[:-1], make_costs().n_bytes).save(path)
    with pytest.raises(ArtifactError, match="its events are not those of its targets"):
        ByteCosts.load(path)
