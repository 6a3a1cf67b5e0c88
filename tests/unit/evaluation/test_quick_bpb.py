"""golf/evaluation/quick_bpb.py"""

import dataclasses

import numpy as np
import pytest
import torch

from golf.data.eval_stream import EvalStream
from golf.distributed import context
from golf.evaluation import quick_bpb
from golf.inference.scorer import Scorer
from golf.pipeline.progress import Progress
from tests.helpers.compiled_work import STREAM, compiled, make_model, record_graphs
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

EAGER = context.single_process()
CONTEXT_LENGTH = TINY_MODEL_CONFIG.context_length  # STREAM's 150 targets are four windows and part of a fifth
TARGET_BYTES = np.arange(len(STREAM) - 1) % 5


def measure(ctx=EAGER, *, rows: int = 2, progress: Progress | None = None) -> list[float]:
    """Bpb with and without recurrence, by one function."""
    stream = EvalStream(STREAM, TARGET_BYTES, bos=1)
    compute_plain_bpb = quick_bpb.make_plain_bpb_fn(
        stream, TINY_MODEL_CONFIG, ctx, eval_batch_tokens=rows * CONTEXT_LENGTH, progress=progress
    )
    weights = make_model(EAGER).state_dict()
    return [compute_plain_bpb(weights, recurrent=recurrent) for recurrent in (True, False)]


@pytest.mark.parametrize("rows", [1, 2, 3, 64])
def test_it_is_the_bpb_of_plain_windows_however_they_are_batched(rows, monkeypatch):
    monkeypatch.setattr(quick_bpb, "MAX_CHUNK_LOGITS", {"cpu": 7 * TINY_MODEL_CONFIG.vocab_size})
    for actual, recurrent in zip(measure(rows=rows), (True, False), strict=True):
        scorer = Scorer(make_model(EAGER), EAGER, eval_batch_tokens=10_000, recurrent=recurrent)
        nll = scorer.score(STREAM[:1], STREAM[1:], stride=CONTEXT_LENGTH)
        assert actual == pytest.approx(nll.sum(dtype=np.float64) / np.log(2) / TARGET_BYTES.sum(), rel=1e-5)


def test_compiled_it_is_the_same_from_one_graph_for_each_recurrence():
    with record_graphs() as graphs:
        assert measure(compiled(EAGER)) == pytest.approx(measure(), rel=1e-5)
    assert len(graphs) == 2


def test_in_bf16_it_is_nearly_the_same():
    half = dataclasses.replace(EAGER, dtype=torch.bfloat16)
    assert measure(half) == pytest.approx(measure(), rel=0.02)
    assert measure(half) != measure()


def test_progress_counts_the_targets_of_all_calls(capsys, monkeypatch):
    progress = Progress("ema", 2 * 150, "targets")
    monkeypatch.setattr(progress, "_interval_s", 0.0)
    measure(progress=progress)
    counts = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert counts == [f"{n}/300" for n in (64, 128, 150, 214, 278, 300)]
