import time
from types import SimpleNamespace

import numpy as np

from golf.data.eval_stream import EvalStream
from golf.evaluation import evaluator

PLAN = SimpleNamespace(chunk_tokens=20, stride=4)
PACE = {"plan": PLAN, "stride": 2, "context": 8}
STREAM = EvalStream(np.arange(2, 53, dtype=np.uint16), np.full(50, 3), bos=1)


class Recorder:
    """A method that knows how it was begun and scores by that."""

    def __init__(self):
        self.initial_state_hash = []

    def begin(self, **how):
        self.initial_state_hash.append(how)

    def score(self, prefix, chunk):
        return np.full(len(chunk), 1.0 / len(self.initial_state_hash))

    def update(self, sealed):
        pass


def judged():
    """Of one method in every way, the headline ttt first."""
    method = Recorder()
    how = PACE | {"quiet": True, "stage": "evaluate"}
    return method, {way: evaluator.evaluate_mode(method, STREAM, way, **how) for way in ("ttt", "plain", "sliding")}


def test_each_way_has_a_stride_of_its_own():
    method, _ = judged()

    assert [how["stride"] for how in method.initial_state_hash] == [4, 8, 2]  # the plan's, the context, evaluate's


def test_only_the_way_that_learns_is_given_the_plan():
    method, _ = judged()

    assert [how["plan"] for how in method.initial_state_hash] == [PLAN, None, None]
    assert {how["chunks"] for how in method.initial_state_hash} == {3}


def test_the_headline_figure_is_the_way_that_was_named_and_never_the_best():
    _, found = judged()
    figures = evaluator.collect_metrics(found, "ttt")

    assert figures["val_bpb"] == figures["val_bpb_ttt"] > figures["val_bpb_sliding"]
    assert figures["val_bytes"] == 150
    assert figures["val_tokens"] == 50


def test_curves_have_one_column_for_each_way():
    _, found = judged()

    assert set(evaluator.tabulate_running_bpb(found)[0]) == {"tokens", "plain", "sliding", "ttt"}
    assert set(evaluator.tabulate_loss_by_position(found)[0]) == {"position", "plain", "sliding", "ttt"}


def test_ledgers_are_written_for_each_way(tmp_path):
    _, found = judged()
    evaluator.save_ledgers(found, tmp_path, dict.fromkeys(found, ""), stream="val")

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{w}.safetensors" for w in ("plain", "sliding", "ttt")]


def test_the_time_of_an_audit_is_no_time_of_scoring():
    calls = []

    def audit(sealed, nll):
        calls.append((sealed.index, len(nll)))
        time.sleep(0.02)

    found = evaluator.evaluate_mode(Recorder(), STREAM, "plain", **PACE, quiet=True, stage="evaluate", probes=audit)

    assert calls == [(0, 20), (1, 20), (2, 10)]
    assert found.probe_seconds >= 0.06


def test_what_must_stand_beside_a_score_stands_beside_it(capsys):
    evaluator.evaluate_mode(
        Recorder(), STREAM, "plain", **PACE, quiet=False, stage="evaluate", disclaimer=" (invalid: why)"
    )

    assert "150 bytes (invalid: why)" in capsys.readouterr().err


def test_scores_that_are_all_zero_have_figures_and_divide_by_nothing():
    class Knowing(Recorder):
        def score(self, prefix, chunk):
            return np.zeros(len(chunk))

    found = {
        way: evaluator.evaluate_mode(Knowing(), STREAM, way, **PACE, quiet=True, stage="evaluate")
        for way in evaluator.MODES
    }
    figures = evaluator.collect_metrics(found, "plain")

    assert (figures["val_bpb"], figures["implied_bytes"]) == (0, 0)
