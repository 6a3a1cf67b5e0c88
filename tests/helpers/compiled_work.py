"""Scoring, test-time training, Hessians and training of the tiny model, on data of their own, compiled or not."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from golf.distributed.context import DistContext
from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians
from golf.training import step
from golf.training.optimizer import MuonAdamW
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.ttt_settings import make_ttt_settings

STREAM = np.random.default_rng(0).integers(0, 260, 151).astype(np.uint16)
TTT_CONFIG = make_ttt_settings(epochs=2)
_CONTEXT_LENGTH = TINY_MODEL_CONFIG.context_length


@contextmanager
def record_graphs() -> Iterator[list]:
    """A list that grows by one with every graph. Dynamo traces as in a run; on CPUs the graphs then run uncompiled."""
    graphs, compile_ = [], torch.compile

    def backend(graph, example_inputs):
        graphs.append(graph)
        return lookup_backend("inductor" if example_inputs[0].is_cuda else "eager")(graph, example_inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=backend, **options))
        torch._dynamo.reset()
        yield graphs
        torch._dynamo.reset()


def compiled(ctx: DistContext) -> DistContext:
    return dataclasses.replace(ctx, compile=True)


def make_model(ctx: DistContext) -> GPT:
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model.to(ctx.device)


def assert_close(actual: dict, expected: dict, atol: float = 1e-5) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            actual[name], expected[name], atol=atol, rtol=1e-5, msg=lambda text, n=name: n + text
        )


def score(ctx: DistContext) -> tuple[np.ndarray, ...]:
    """The nll of a pass in chunks with plain windows, then of one with a stride of 8."""
    scorer = Scorer(make_model(ctx), ctx, eval_batch_tokens=3 * _CONTEXT_LENGTH)
    return tuple(
        np.concatenate(
            [scorer.score(STREAM[: b + 1], STREAM[b + 1 : b + 65], stride=stride) for b in range(0, 150, 64)]
        )
        for stride in (_CONTEXT_LENGTH, 8)
    )


def train_on_chunks(ctx: DistContext) -> dict[str, torch.Tensor]:
    """The weights after score-first SGD on two chunks."""
    model = make_model(ctx)
    learner = ScoreFirstSGD(model, TTT_CONFIG, ctx, n_chunks=4)
    for index in range(2):
        tokens = np.random.default_rng(index).integers(0, 260, 4 * _CONTEXT_LENGTH + 1).astype(np.uint16)
        learner.train_on_chunk(ScoredChunk(index, tokens, False, ""))
    return model.state_dict()


def measure_hessians(ctx: DistContext) -> dict[str, torch.Tensor]:
    model = make_model(ctx)
    ids = torch.randint(0, 260, (2, 4, _CONTEXT_LENGTH + 1), generator=torch.Generator().manual_seed(1)).to(ctx.device)
    batches = [(block[:, :-1].contiguous(), block[:, 1:].contiguous()) for block in ids]  # as a TokenLoader's are
    inputs = hessians.map_quantized_inputs(model.state_dict(), 100)
    return hessians.collect_hessians(model, inputs, batches, micro_rows=2, ctx=ctx)[0]


def train_steps(ctx: DistContext, cfg) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses after warm-up, a step without recurrence and two with it."""
    model = make_model(ctx)
    loss_fn = ctx.maybe_compile(step.make_loss_fn(model, ctx))
    step.compile_warmup(model, loss_fn, cfg, ctx)
    optimizer, losses = MuonAdamW(model, cfg, ctx), []
    for number, recurrent in enumerate((False, True, True)):
        ids = torch.randint(0, 260, (4, _CONTEXT_LENGTH + 1), generator=torch.Generator().manual_seed(number))
        batch = ids[:, :-1].contiguous().to(ctx.device), ids[:, 1:].contiguous().to(ctx.device)
        losses.append(step.train_step(model, loss_fn, batch, optimizer, number, 1.0, recurrent, ctx)[0].item())
    return model.state_dict(), losses


def make_predictor(ctx: DistContext) -> GolfPredictor:
    return GolfPredictor(make_model(ctx), ctx, eval_batch_tokens=8 * _CONTEXT_LENGTH)


def run_ttt_pass(predictor: GolfPredictor) -> np.ndarray:
    """The nll of a pass that learns from each chunk of two windows; the last chunk is short."""
    predictor.reset(stride=8, ttt_cfg=TTT_CONFIG, n_chunks=3)
    ledger, progress = Ledger("ttt", 1), Progress("t", 1, "x", quiet=True)
    chunk_tokens = 2 * _CONTEXT_LENGTH
    scoring_loop.score_stream(predictor, STREAM, np.ones(150), ledger, chunk_tokens=chunk_tokens, progress=progress)
    return ledger.to_data().nll
