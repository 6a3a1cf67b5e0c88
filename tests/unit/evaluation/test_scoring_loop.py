from functools import partialmethod
from types import SimpleNamespace

import numpy as np
import pytest

from golf.data.eval_stream import EvalStream
from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.evaluation.timer import EvalTimer
from golf.pipeline.progress import Progress

TOKENS = np.arange(100, 151, dtype=np.uint16)
TARGET_BYTES = np.arange(50) % 4
TTT_CONFIG = SimpleNamespace(chunk_tokens=20, stride=4)
MEMORY_CONFIG = SimpleNamespace(orders=(1, 2))
PASS_ARGS = {"ttt_cfg": TTT_CONFIG, "memory_cfg": MEMORY_CONFIG, "stride": 2, "context_length": 8, "stage": "evaluate"}


class RecordingPredictor:
    """Records its calls, and how many seals the ledger holds at each."""

    def __init__(self, ledger=None):
        self.ledger, self.resets, self.events = ledger or Ledger("plain", 1), [], []

    def reset(self, **settings):
        self.resets.append(settings)

    def score(self, prefix, chunk):
        self.events.append(("score", len(prefix), chunk.tolist(), len(self.ledger.chain_hashes)))
        return np.full(len(chunk), 0.5)

    def update(self, scored_chunk):
        tokens = scored_chunk.tokens.tolist()
        self.events.append(("update", scored_chunk.index, tokens, len(self.ledger.chain_hashes)))
        self.is_last = scored_chunk.is_last


def run_pass(chunk_tokens=20, predictor_class=RecordingPredictor):
    predictor = predictor_class(Ledger("ttt", bos=1))

    def note_seal(chunk):
        predictor.events.append(("sealed", chunk.index, None, len(predictor.ledger.chain_hashes)))

    scoring_loop.score_stream(
        predictor,
        TOKENS,
        TARGET_BYTES,
        predictor.ledger,
        chunk_tokens=chunk_tokens,
        progress=Progress("t", 1, "x", quiet=True),
        on_sealed=note_seal,
    )
    return predictor


def test_a_chunk_is_scored_then_sealed_then_learned_from_before_the_next_is_shown():
    predictor = run_pass()

    assert [event[0] for event in predictor.events] == ["score", "sealed", "update"] * 3
    assert [event[3] for event in predictor.events] == [0, 1, 1, 1, 2, 2, 2, 3, 3]


def test_every_target_is_scored_once_in_order_with_its_strict_prefix():
    predictor = run_pass()
    scores = [event for event in predictor.events if event[0] == "score"]

    assert [token for event in scores for token in event[2]] == TOKENS[1:].tolist()
    assert [event[1] for event in scores] == [1, 21, 41]
    np.testing.assert_array_equal(predictor.ledger.to_data().bytes, TARGET_BYTES)


def test_an_update_gets_the_scored_tokens_and_the_one_before_them():
    predictor = run_pass()
    updates = [event for event in predictor.events if event[0] == "update"]

    assert [event[2] for event in updates] == [TOKENS[begin : begin + 21].tolist() for begin in (0, 20, 40)]
    assert predictor.is_last


def test_a_predictor_can_reach_nothing_beyond_its_chunk_through_its_prefix():
    class PeekingPredictor(RecordingPredictor):
        def score(self, prefix, chunk):
            array = prefix.base if prefix.base is not None else prefix
            self.events.append(set(array.tolist()) - set(prefix.tolist()) - {0})
            return np.zeros(len(chunk))

        def update(self, scored_chunk):
            pass

    events = run_pass(predictor_class=PeekingPredictor).events
    assert [event for event in events if isinstance(event, set)] == [set()] * 3


@pytest.mark.parametrize("chunk_tokens", [1, 7, 50, 999])
def test_any_chunk_size_covers_the_stream(chunk_tokens):
    assert len(run_pass(chunk_tokens).ledger.to_data().nll) == 50


def evaluate(mode="plain", predictor=None, quiet=True, **args):
    stream = EvalStream(TOKENS, TARGET_BYTES, 1)
    return scoring_loop.evaluate_mode(predictor or RecordingPredictor(), stream, mode, quiet=quiet, **PASS_ARGS, **args)


@pytest.mark.parametrize(
    ("mode", "stride", "plan"),
    [("plain", 8, (None, None)), ("sliding", 2, (None, None)), ("ttt", 4, (TTT_CONFIG, MEMORY_CONFIG))],
)
def test_each_mode_has_its_own_stride_and_only_ttt_may_learn_and_remember(mode, stride, plan):
    predictor = RecordingPredictor()
    evaluate(mode, predictor)

    assert predictor.resets == [
        {"stride": stride, "ttt_cfg": plan[0], "memory_cfg": plan[1], "n_chunks": 3, "order": "stream"}
    ]


def test_a_disclaimer_is_printed_beside_the_score(capsys):
    evaluate(quiet=False, disclaimer="invalid: why")

    assert "bytes (invalid: why)" in capsys.readouterr().err


def test_a_progress_line_shows_the_seconds_that_count_and_the_speed(capsys, monkeypatch):
    """The timer's seconds, from which the verdict's come."""
    clock = [500.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Progress, "update", partialmethod(Progress.update, force=True))

    class SlowPredictor(RecordingPredictor):
        def score(self, prefix, chunk):
            clock[0] += 10
            return super().score(prefix, chunk)

    result = evaluate(predictor=SlowPredictor(), quiet=False, timer=EvalTimer(limit_s=600))

    lines = [line.split("  ") for line in capsys.readouterr().err.splitlines() if "targets plain" in line]
    assert [line[-2 if "left" in line[-1] else -1] for line in lines] == ["10 of 600 s", "20 of 600 s", "30 of 600 s"]
    assert [line[3] for line in lines] == ["at 2 tok/s"] * 3
    assert "left" not in lines[-1][-1]
    assert result.finished_s == 30
