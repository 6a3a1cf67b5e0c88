"""benchmarks/scoreboard_data.py: what a document and the clean bytes cost, and the largest that fits"""

import sys

import numpy as np
import pytest

from golf.data.eval_stream import EvalStream
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import scoreboard_data
from scoreboard_data import Scores, SplitData, fit_largest

BOS = 1


def make_split(is_clean: list[bool] | None) -> SplitData:
    """Two documents, "abcd" and "efg", in tokens of 2, 2 and 3 bytes. is_clean: of the four targets."""
    mask = None if is_clean is None else np.array(is_clean)
    stream = EvalStream(np.array([BOS, 5, 6, BOS, 7], dtype=np.uint16), np.array([2, 2, 0, 3]), BOS, mask)
    return SplitData([b"abcd", b"efg"], stream)


def test_a_document_pays_for_the_bos_that_starts_it():
    scores = make_split(None).score_tokens(np.log(2) * np.array([1, 2, 4, 8]))
    np.testing.assert_allclose(scores.bits, [3, 12])
    assert scores.clean_bits is None


def test_the_clean_score_is_that_of_the_clean_targets():
    split = make_split([False, True, True, True])
    scores = split.score_tokens(np.log(2) * np.array([1, 2, 4, 8]))
    assert split.to_json(scores)["clean_bpb"] == pytest.approx(14 / 5)
    assert split.to_json(scores)["bpb"] == pytest.approx(15 / 7)


def test_pieces_are_the_stream_cut_at_documents_and_where_clean_bytes_end():
    split = make_split([True, False, True, False])
    pieces = list(split.iter_pieces())
    assert b"".join(piece for piece, _, _ in pieces) == split.join() == b"abcd\nefg"
    assert pieces == [(b"ab", 0, True), (b"cd", 0, False), (b"\n", 1, True), (b"efg", 1, False)]
    scores = split.score_pieces([1.0, 2.0, 4.0, 8.0])
    assert (scores.bits.tolist(), scores.clean_bits) == ([3.0, 12.0], 5.0)


def test_a_total_has_no_scores_by_document():
    assert make_split(None).to_json(Scores(np.array([70.0]), None)) == {
        "bpb": 10.0,
        "clean_bpb": None,
        "document_bits": None,
    }


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("limit_bytes", [10, 1000, 30_000])
def test_the_largest_amount_fits_and_leaves_little(exponent, limit_bytes):
    sizes: dict[int, int] = {}

    def measure_size(amount: int) -> int:
        assert amount not in sizes, "measured twice"
        sizes[amount] = round(amount**exponent)
        return sizes[amount]

    amount = fit_largest(measure_size, 1_000_000, limit_bytes, per_byte=4.0, slack_frac=0.01)
    assert 0.99 * limit_bytes - 1 <= round(amount**exponent) <= limit_bytes
    assert len(sizes) < 20


def test_more_bytes_hold_no_less():
    amounts = [fit_largest(lambda n: 3 * n + 7, 5000, limit, per_byte=1.0) for limit in range(0, 20_000, 500)]
    assert amounts == sorted(amounts)
    assert (amounts[0], amounts[-1]) == (0, 5000)


def test_code_is_weighed_without_comments_and_docstrings():
    def plain(x):
        return x + 1

    def documented(x):
        """Words."""
        # more words
        return x + 1

    names = [scoreboard_data.weigh_functions(function) for function in (plain, documented)]
    assert abs(names[0] - names[1]) < 20
