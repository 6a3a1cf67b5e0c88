"""What runs compiled gives what runs eagerly, from as many graphs as there are shapes of work.

torch.compile traces as it does in a run (Dynamo, static shapes, one full graph). On CPUs the traced graphs then run
as they are, so that no C++ compiler is needed; on a GPU Inductor compiles them.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from golf.distributed import context, device
from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.evaluation.sandbox import state_hash
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians
from golf.training import step
from golf.training.optimizer import MuonAdamW

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does
STREAM = np.random.default_rng(0).integers(0, 260, 151).astype(np.uint16)
PLAN = SimpleNamespace(lr=0.05, momentum=0.9, epochs=2, grad_clip=1.0, batch_tokens=64)


@pytest.fixture
def compiled_graphs(monkeypatch):
    """Dynamo for real; the list grows by one with every graph."""
    made, compile_ = [], torch.compile

    def counted(graph, example):
        made.append(graph)
        return lookup_backend("inductor" if example[0].is_cuda else "eager")(graph, example)

    monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend=counted, **how))
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def compiled(here: context.DistContext) -> context.DistContext:
    return dataclasses.replace(here, compile=True)


def fresh(shape, here) -> GPT:
    model = GPT(shape).init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model.to(here.device)


def assert_same(ours: dict, expected: dict, atol: float = 1e-5):
    assert ours.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], atol=atol, rtol=1e-5, msg=lambda text, n=name: n + text)


def scored(shape, here) -> tuple[np.ndarray, ...]:
    """A pass in chunks, then a second one: plain windows first, as a judge with that headline does."""
    ours = Scorer(fresh(shape, here), here, eval_batch_tokens=3 * shape.context)
    return tuple(
        np.concatenate([ours.score(STREAM[: b + 1], STREAM[b + 1 : b + 65], stride=stride) for b in range(0, 150, 64)])
        for stride in (shape.context, 8)
    )


def learned(shape, here) -> dict:
    model = fresh(shape, here)
    learner = ScoreFirstSGD(model, PLAN, here, n_chunks=4)
    for index in range(2):
        tokens = np.random.default_rng(index).integers(0, 260, 4 * shape.context + 1).astype(np.uint16)
        learner.train_on_chunk(ScoredChunk(index, tokens, False, ""))
    return model.state_dict()


def measured(shape, here) -> dict:
    model = fresh(shape, here)
    ids = torch.randint(0, 260, (2, 4, shape.context + 1), generator=torch.Generator().manual_seed(1)).to(here.device)
    batches = [(block[:, :-1].contiguous(), block[:, 1:].contiguous()) for block in ids]  # as a Loader's are
    sources = hessians.quantized_inputs(model.state_dict(), 100)
    return hessians.collect_hessians(model, sources, batches, micro_rows=2, ctx=here)[0]


def trained(shape, here, wanted) -> tuple[dict, list[float]]:
    """Warm-up, then a step without recurrence and two with it."""
    model = fresh(shape, here)
    loss = here.maybe_compile(step.make_loss_fn(model, here))
    step.compile_warmup(model, loss, wanted, here)
    optimisers, losses = MuonAdamW(model, wanted, here), []
    for number, looped in enumerate((False, True, True)):
        ids = torch.randint(0, 260, (4, shape.context + 1), generator=torch.Generator().manual_seed(number))
        batch = ids[:, :-1].contiguous().to(here.device), ids[:, 1:].contiguous().to(here.device)
        losses.append(step.train_step(model, loss, batch, optimisers, number, 1.0, looped, here)[0].item())
    return model.state_dict(), losses


def test_compiled_scores_are_the_eager_ones_from_two_graphs(tiny_model_config, compiled_graphs):
    here = context.single_process()
    for ours, expected in zip(scored(tiny_model_config, compiled(here)), scored(tiny_model_config, here), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert len(compiled_graphs) == 2


def test_a_compiled_learner_learns_the_eager_weights_from_one_graph(tiny_model_config, compiled_graphs):
    here = context.single_process()
    assert_same(learned(tiny_model_config, compiled(here)), learned(tiny_model_config, here))
    assert len(compiled_graphs) == 1


def test_compiled_hessians_are_the_eager_ones_from_one_graph(tiny_model_config, compiled_graphs):
    here = context.single_process()
    assert_same(measured(tiny_model_config, compiled(here)), measured(tiny_model_config, here))
    assert len(compiled_graphs) == 1


def test_warm_up_compiles_both_graphs_of_training_and_its_steps_are_the_eager_ones(
    tiny_model_config, tiny_train_config, compiled_graphs
):
    here, wanted = context.single_process(), dataclasses.replace(tiny_train_config, warmup_steps=1)
    ours, losses = trained(tiny_model_config, compiled(here), wanted)
    expected, eager = trained(tiny_model_config, here, wanted)

    assert losses == pytest.approx(eager, abs=1e-5)
    assert_same(ours, expected)
    assert len(compiled_graphs) == 2 + 6  # of the loss; two for each of Muon's three sizes of matrices


def opened(shape, here) -> GolfPredictor:
    return GolfPredictor(fresh(shape, here), here, eval_batch_tokens=8 * shape.context)


def adapted(method: GolfPredictor, shape) -> np.ndarray:
    """A pass that learns from each chunk of two windows; the last chunk is short."""
    method.reset(stride=8, ttt_cfg=PLAN, n_chunks=3)
    made, line = Ledger("ttt", 1), Progress("t", 1, "x", quiet=True)
    size = 2 * shape.context
    return (
        scoring_loop.score_whole_stream(method, STREAM, np.ones(150), made, chunk_tokens=size, progress=line)
        .to_data()
        .nll
    )


def test_every_graph_of_a_pass_is_made_before_its_first_chunk_and_none_again_in_the_next_pass(
    tiny_model_config, compiled_graphs
):
    here = context.single_process()
    method = opened(tiny_model_config, compiled(here))
    method.reset(stride=8, ttt_cfg=PLAN, n_chunks=3)
    assert len(compiled_graphs) == 3, "whole windows, tails, a step of learning"
    found = [adapted(method, tiny_model_config) for _ in range(2)]

    assert len(compiled_graphs) == 3
    for each in found:
        np.testing.assert_allclose(each, adapted(opened(tiny_model_config, here), tiny_model_config), atol=1e-5)


def test_making_graphs_leaves_no_trace_in_weights_momentum_dice_or_the_hash_of_the_state(
    tiny_model_config, compiled_graphs, monkeypatch
):
    method = opened(tiny_model_config, compiled(context.single_process()))
    dice = torch.get_rng_state(), np.random.get_state()[1].copy()
    state = state_hash.hash_state(method.reset(stride=8, ttt_cfg=PLAN, n_chunks=3))

    assert len(compiled_graphs) == 3
    assert torch.equal(torch.get_rng_state(), dice[0])
    assert (np.random.get_state()[1] == dice[1]).all()
    assert all(torch.equal(tensor, method.initial_weights[name]) for name, tensor in method.model.state_dict().items())
    assert all(weight.grad is None for weight in method.model.parameters())
    assert not method.learner.momentum_buffer.any()
    with monkeypatch.context() as cold:
        cold.setattr(Scorer, "warm_up", lambda *_, **__: None)
        cold.setattr(ScoreFirstSGD, "compute_gradient", lambda *_: None)
        assert state_hash.hash_state(method.reset(stride=8, ttt_cfg=PLAN, n_chunks=3)) == state


@pytest.mark.gpu
def test_on_a_gpu_what_inductor_compiles_gives_what_eager_gives(
    tiny_model_config, tiny_train_config, gpu, compiled_graphs
):
    lacking = device.missing_compiler(gpu)
    if lacking:
        pytest.skip(f"needs {lacking}")
    here, wanted = (
        context.single_process(str(gpu)),
        dataclasses.replace(tiny_train_config, device="cuda", warmup_steps=1),
    )
    for ours, expected in zip(scored(tiny_model_config, compiled(here)), scored(tiny_model_config, here), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert_same(learned(tiny_model_config, compiled(here)), learned(tiny_model_config, here), atol=1e-4)
    assert_same(measured(tiny_model_config, compiled(here)), measured(tiny_model_config, here), atol=1e-3)
    losses = [trained(tiny_model_config, each, wanted)[1] for each in (compiled(here), here)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert len(compiled_graphs) == 6 + 6
