import numpy as np
import pytest

from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.pipeline.progress import Progress

STREAM = np.arange(100, 151, dtype=np.uint16)
BYTES = np.arange(50) % 4


class Watcher:
    """A method that writes down what it is given, and when."""

    def __init__(self, ledger):
        self.ledger, self.events, self.kept = ledger, [], []

    def score(self, prefix, chunk):
        self.events.append(("score", len(prefix), chunk.tolist(), len(self.ledger.chain_hashes)))
        self.kept.append(prefix)
        return np.full(len(chunk), 0.5)

    def update(self, sealed):
        self.events.append(("update", sealed.index, sealed.tokens.tolist(), len(self.ledger.chain_hashes)))
        self.last = sealed.last


def watched(chunk_tokens=20):
    ledger = Ledger("ttt", bos_id=1)
    method = Watcher(ledger)
    line = Progress("t", 1, "x", quiet=True)
    return method, scoring_loop.score_whole_stream(
        method, STREAM, BYTES, ledger, chunk_tokens=chunk_tokens, progress=line
    )


def test_a_chunk_is_scored_then_sealed_then_learned_from_and_only_then_the_next_is_shown():
    method, _ = watched()

    assert [event[0] for event in method.events] == ["score", "update"] * 3
    assert [event[3] for event in method.events] == [0, 1, 1, 2, 2, 3]  # seals made when it was called


def test_every_target_is_scored_once_in_order_with_its_strict_prefix():
    method, ledger = watched()
    scored = [event for event in method.events if event[0] == "score"]

    assert [token for event in scored for token in event[2]] == STREAM[1:].tolist()
    assert [event[1] for event in scored] == [1, 21, 41]
    np.testing.assert_array_equal(ledger.to_data().bytes, BYTES)


def test_a_learner_gets_the_tokens_that_were_scored_and_the_one_before_them():
    method, _ = watched()
    updates = [event for event in method.events if event[0] == "update"]

    assert [event[2] for event in updates] == [STREAM[b : b + 21].tolist() for b in (0, 20, 40)]
    assert method.last


def test_a_method_can_reach_nothing_beyond_its_chunk_through_its_prefix():
    class Peeker(Watcher):
        def score(self, prefix, chunk):
            whole = prefix.base if prefix.base is not None else prefix
            beyond = set(whole.tolist()) - set(prefix.tolist()) - {0}
            self.events.append(beyond)
            return np.zeros(len(chunk))

        def update(self, sealed):
            pass

    ledger = Ledger("plain", bos_id=1)
    method = Peeker(ledger)
    scoring_loop.score_whole_stream(
        method, STREAM, BYTES, ledger, chunk_tokens=20, progress=Progress("t", 1, "x", quiet=True)
    )

    assert method.events == [set()] * 3


def test_the_pass_stops_between_chunks_when_nobody_asks_for_the_next():
    ledger = Ledger("ttt", bos_id=1)
    method = Watcher(ledger)
    line = Progress("t", 1, "x", quiet=True)
    first = next(scoring_loop.score_stream(method, STREAM, BYTES, ledger, chunk_tokens=20, progress=line))

    assert first.index == 0
    assert [event[0] for event in method.events] == ["score"]


@pytest.mark.parametrize("chunk_tokens", [1, 7, 50, 999])
def test_any_chunk_size_covers_the_stream(chunk_tokens):
    _, ledger = watched(chunk_tokens)

    assert len(ledger.to_data().nll) == 50
