"""What runs compiled gives what runs uncompiled, from as many graphs as there are shapes of work.

torch.compile traces as in a run (Dynamo, static shapes, one full graph); the graphs then run uncompiled, so that no C++
compiler is needed. tests/gpu has the test with Inductor.
"""

import dataclasses

import numpy as np
import pytest
import torch

from golf.distributed import context
from golf.evaluation.sandbox import state_hash
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.inference.scorer import Scorer
from tests.helpers.compiled_work import (
    TTT_CONFIG,
    assert_close,
    compiled,
    make_predictor,
    measure_hessians,
    record_graphs,
    run_ttt_pass,
    score,
    train_on_chunks,
    train_steps,
)

EAGER = context.single_process()


@pytest.fixture
def graphs():
    """The graphs compiled so far."""
    with record_graphs() as recorded:
        yield recorded


def test_compiled_scores_are_the_eager_ones_from_two_graphs(graphs):
    for actual, expected in zip(score(compiled(EAGER)), score(EAGER), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert len(graphs) == 2


def test_compiled_ttt_learns_the_eager_weights_from_one_graph(graphs):
    assert_close(train_on_chunks(compiled(EAGER)), train_on_chunks(EAGER))
    assert len(graphs) == 1


def test_compiled_hessians_are_the_eager_ones_from_one_graph(graphs):
    assert_close(measure_hessians(compiled(EAGER)), measure_hessians(EAGER))
    assert len(graphs) == 1


def test_warm_up_compiles_both_graphs_of_training_and_its_steps_are_the_eager_ones(tiny_train_config, graphs):
    cfg = dataclasses.replace(tiny_train_config, compile_warmup_steps=1)
    weights, losses = train_steps(compiled(EAGER), cfg)
    expected_weights, expected_losses = train_steps(EAGER, cfg)

    assert losses == pytest.approx(expected_losses, abs=1e-5)
    assert_close(weights, expected_weights)
    assert len(graphs) == 2 + 6  # of the loss; two for each of Muon's three sizes of matrices


def test_every_graph_is_compiled_before_the_first_chunk_and_none_again_in_the_next_pass(graphs):
    predictor = make_predictor(compiled(EAGER))
    predictor.reset(stride=8, ttt_cfg=TTT_CONFIG, n_chunks=3)
    assert len(graphs) == 3, "whole windows, tails, a step of learning"
    passes = [run_ttt_pass(predictor) for _ in range(2)]

    assert len(graphs) == 3
    for nll in passes:
        np.testing.assert_allclose(nll, run_ttt_pass(make_predictor(EAGER)), atol=1e-5)


def test_compiling_leaves_no_trace_in_weights_momentum_random_state_or_the_state_hash(graphs, monkeypatch):
    predictor = make_predictor(compiled(EAGER))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    warm_hash = state_hash.hash_state(predictor.reset(stride=8, ttt_cfg=TTT_CONFIG, n_chunks=3))

    assert len(graphs) == 3
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    weights = predictor.model.state_dict()
    assert all(torch.equal(tensor, predictor.initial_weights[name]) for name, tensor in weights.items())
    assert all(weight.grad is None for weight in predictor.model.parameters())
    assert not predictor.learner.momentum_buffer.any()
    with monkeypatch.context() as without_warm_up:
        without_warm_up.setattr(Scorer, "warm_up", lambda *_, **__: None)
        without_warm_up.setattr(ScoreFirstSGD, "compute_gradient", lambda *_: None)
        assert state_hash.hash_state(predictor.reset(stride=8, ttt_cfg=TTT_CONFIG, n_chunks=3)) == warm_hash
