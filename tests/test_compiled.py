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

from golf.ground import machine, runtime
from golf.ground.progress import Progress
from golf.method import Method
from golf.model.gpt import GPT
from golf.quant import hessian
from golf.room import fingerprint
from golf.score import passes
from golf.score.ledger import Ledger
from golf.score.scorer import Scorer
from golf.score.sealed import Sealed
from golf.train import step
from golf.train.optimizer import Optimisers
from golf.ttt.score_first import Learner

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does
STREAM = np.random.default_rng(0).integers(0, 260, 151).astype(np.uint16)
PLAN = SimpleNamespace(lr=0.05, momentum=0.9, epochs=2, clip=1.0, batch_tokens=64)


@pytest.fixture
def graphs(monkeypatch):
    """Dynamo for real; the list grows by one with every graph."""
    made, compile_ = [], torch.compile

    def counted(graph, example):
        made.append(graph)
        return lookup_backend("inductor" if example[0].is_cuda else "eager")(graph, example)

    monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend=counted, **how))
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def compiled(here: runtime.Runtime) -> runtime.Runtime:
    return dataclasses.replace(here, compile=True)


def fresh(shape, here) -> GPT:
    model = GPT(shape).initialise(torch.Generator().manual_seed(0))
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
    ours = Scorer(fresh(shape, here), here, score_tokens=3 * shape.context)
    return tuple(
        np.concatenate([ours.score(STREAM[: b + 1], STREAM[b + 1 : b + 65], stride=stride) for b in range(0, 150, 64)])
        for stride in (shape.context, 8)
    )


def learned(shape, here) -> dict:
    model = fresh(shape, here)
    learner = Learner(model, PLAN, here, chunks=4)
    for index in range(2):
        tokens = np.random.default_rng(index).integers(0, 260, 4 * shape.context + 1).astype(np.uint16)
        learner.learn(Sealed(index, tokens, False, ""))
    return model.state_dict()


def measured(shape, here) -> dict:
    model = fresh(shape, here)
    ids = torch.randint(0, 260, (2, 4, shape.context + 1), generator=torch.Generator().manual_seed(1)).to(here.device)
    batches = [(block[:, :-1].contiguous(), block[:, 1:].contiguous()) for block in ids]  # as a Loader's are
    sources = hessian.inputs(model.state_dict(), 100)
    return hessian.collect(model, sources, batches, micro_rows=2, here=here)[0]


def trained(shape, here, wanted) -> tuple[dict, list[float]]:
    """Warm-up, then a step without recurrence and two with it."""
    model = fresh(shape, here)
    loss = here.compiled(step.loss_function(model, here))
    step.warm_up(model, loss, wanted, here)
    optimisers, losses = Optimisers(model, wanted, here), []
    for number, looped in enumerate((False, True, True)):
        ids = torch.randint(0, 260, (4, shape.context + 1), generator=torch.Generator().manual_seed(number))
        batch = ids[:, :-1].contiguous().to(here.device), ids[:, 1:].contiguous().to(here.device)
        losses.append(step.one_step(model, loss, batch, optimisers, number, 1.0, looped, here)[0].item())
    return model.state_dict(), losses


def test_compiled_scores_are_the_eager_ones_from_two_graphs(tiny_shape, graphs):
    here = runtime.alone()
    for ours, expected in zip(scored(tiny_shape, compiled(here)), scored(tiny_shape, here), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert len(graphs) == 2


def test_a_compiled_learner_learns_the_eager_weights_from_one_graph(tiny_shape, graphs):
    here = runtime.alone()
    assert_same(learned(tiny_shape, compiled(here)), learned(tiny_shape, here))
    assert len(graphs) == 1


def test_compiled_hessians_are_the_eager_ones_from_one_graph(tiny_shape, graphs):
    here = runtime.alone()
    assert_same(measured(tiny_shape, compiled(here)), measured(tiny_shape, here))
    assert len(graphs) == 1


def test_warm_up_compiles_both_graphs_of_training_and_its_steps_are_the_eager_ones(tiny_shape, tiny_train, graphs):
    here, wanted = runtime.alone(), dataclasses.replace(tiny_train, warmup_steps=1)
    ours, losses = trained(tiny_shape, compiled(here), wanted)
    expected, eager = trained(tiny_shape, here, wanted)

    assert losses == pytest.approx(eager, abs=1e-5)
    assert_same(ours, expected)
    assert len(graphs) == 2 + 6  # of the loss; two for each of Muon's three sizes of matrices


def opened(shape, here) -> Method:
    return Method(fresh(shape, here), here, score_tokens=8 * shape.context)


def adapted(method: Method, shape) -> np.ndarray:
    """A pass that learns from each chunk of two windows; the last chunk is short."""
    method.begin(stride=8, plan=PLAN, chunks=3)
    made, line = Ledger("ttt", 1), Progress("t", 1, "x", quiet=True)
    size = 2 * shape.context
    return passes.complete(method, STREAM, np.ones(150), made, chunk_tokens=size, line=line).columns().nll


def test_every_graph_of_a_pass_is_made_before_its_first_chunk_and_none_again_in_the_next_pass(tiny_shape, graphs):
    here = runtime.alone()
    method = opened(tiny_shape, compiled(here))
    method.begin(stride=8, plan=PLAN, chunks=3)
    assert len(graphs) == 3, "whole windows, tails, a step of learning"
    found = [adapted(method, tiny_shape) for _ in range(2)]

    assert len(graphs) == 3
    for each in found:
        np.testing.assert_allclose(each, adapted(opened(tiny_shape, here), tiny_shape), atol=1e-5)


def test_making_graphs_leaves_no_trace_in_weights_momentum_dice_or_the_hash_of_the_state(
    tiny_shape, graphs, monkeypatch
):
    method = opened(tiny_shape, compiled(runtime.alone()))
    dice = torch.get_rng_state(), np.random.get_state()[1].copy()
    state = fingerprint.of(method.begin(stride=8, plan=PLAN, chunks=3))

    assert len(graphs) == 3
    assert torch.equal(torch.get_rng_state(), dice[0])
    assert (np.random.get_state()[1] == dice[1]).all()
    assert all(torch.equal(tensor, method.opened[name]) for name, tensor in method.model.state_dict().items())
    assert all(weight.grad is None for weight in method.model.parameters())
    assert not method.learner.velocity.any()
    with monkeypatch.context() as cold:
        cold.setattr(Scorer, "warm_up", lambda *_, **__: None)
        cold.setattr(Learner, "gradient", lambda *_: None)
        assert fingerprint.of(method.begin(stride=8, plan=PLAN, chunks=3)) == state


@pytest.mark.gpu
def test_on_a_gpu_what_inductor_compiles_gives_what_eager_gives(tiny_shape, tiny_train, gpu, graphs):
    lacking = machine.compiler_missing(gpu)
    if lacking:
        pytest.skip(f"needs {lacking}")
    here, wanted = runtime.alone(str(gpu)), dataclasses.replace(tiny_train, device="cuda", warmup_steps=1)
    for ours, expected in zip(scored(tiny_shape, compiled(here)), scored(tiny_shape, here), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert_same(learned(tiny_shape, compiled(here)), learned(tiny_shape, here), atol=1e-4)
    assert_same(measured(tiny_shape, compiled(here)), measured(tiny_shape, here), atol=1e-3)
    losses = [trained(tiny_shape, each, wanted)[1] for each in (compiled(here), here)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert len(graphs) == 6 + 6
