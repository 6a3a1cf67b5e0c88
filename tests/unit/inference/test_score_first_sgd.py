import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golf.distributed import context
from golf.inference.interface import ScoredChunk
from golf.inference.score_first_sgd import ScoreFirstSGD, clip_norm_, compute_flat_gradient, cosine_decay
from golf.model.gpt import GPT

PLAN = SimpleNamespace(lr=0.1, momentum=0.9, epochs=2, grad_clip=1.0, batch_tokens=64)


def chunk(index=0, last=False, rows=4, extra=0) -> ScoredChunk:
    tokens = np.random.default_rng(index).integers(0, 260, rows * 32 + 1 + extra).astype(np.uint16)
    return ScoredChunk(index, tokens, last, "")


@pytest.fixture
def model(tiny_model_config):
    return GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))


def learned(model, *chunks, plan=PLAN, total=5):
    learner = ScoreFirstSGD(model, plan, context.single_process(), n_chunks=total)
    for each in chunks:
        learner.train_on_chunk(each)
    return model


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_learner_is_plain_sgd_with_momentum_clip_and_a_cosine_over_chunks(model):
    slow, velocity = copy.deepcopy(model), {}
    for index in (0, 1):
        tokens = torch.from_numpy(chunk(index).tokens.astype(np.int64))
        x, y = tokens[:-1].view(4, 32), tokens[1:].view(4, 32)
        lr = 0.1 * 0.5 * (1 + math.cos(math.pi * index / 4))
        for _ in range(2):
            for rows in (slice(0, 2), slice(2, 4)):
                slow.zero_grad()
                slow.nll(x[rows], y[rows], recurrent=True).mean().backward()
                norm = math.sqrt(sum(p.grad.square().sum().item() for p in slow.parameters()))
                for name, p in slow.named_parameters():
                    gradient = p.grad * min(1.0, 1.0 / (norm + 1e-6))
                    velocity[name] = 0.9 * velocity.get(name, 0) + gradient
                    p.data -= lr * velocity[name]

    learned(model, chunk(0), chunk(1))

    for ours, expected in zip(model.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_the_last_chunk_is_not_trained_on(model):
    assert same(learned(copy.deepcopy(model), chunk(4, last=True)), model)


def test_no_rate_and_no_epochs_leave_every_weight_as_it_was(model):
    for change in ({"lr": 0.0}, {"epochs": 0}):
        plan = SimpleNamespace(**{**vars(PLAN), **change})
        assert same(learned(copy.deepcopy(model), chunk(0), plan=plan), model)


def test_a_learner_refuses_what_was_not_sealed(model):
    learner = ScoreFirstSGD(model, PLAN, context.single_process(), n_chunks=5)
    with pytest.raises(TypeError, match="sealed chunks alone, got ndarray"):
        learner.train_on_chunk(chunk().tokens)


def test_tokens_after_the_last_whole_window_are_not_trained_on(model):
    cut, whole = copy.deepcopy(model), copy.deepcopy(model)
    longer = chunk(extra=7)
    learned(cut, longer)
    learned(whole, ScoredChunk(0, longer.tokens[:-7], False, ""))

    assert same(cut, whole)


def test_the_rate_falls_from_one_to_zero_over_the_chunks():
    assert [cosine_decay(c, 3) for c in range(3)] == pytest.approx([1, 0.5, 0])
    assert cosine_decay(0, 1) == 1


def test_a_step_makes_one_reduction_of_all_gradients_in_one_buffer_and_leaves_none_behind(model, monkeypatch):
    reduced = []
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: reduced.append(tensor.shape) or tensor)
    learned(model, chunk(0))

    assert reduced == [(sum(weight.numel() for weight in model.parameters()),)] * 4, "two epochs of two steps"
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_ranks_add_up_to_the_gradient_of_one(model, monkeypatch, ranks):
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: tensor)
    x, y = torch.randint(260, (2, 2, 32), generator=torch.Generator().manual_seed(5))
    places = [dataclasses.replace(context.single_process(), rank=rank, ranks=ranks) for rank in range(ranks)]
    parts = [ScoreFirstSGD(model, PLAN, here, n_chunks=5).compute_gradient(x, y) for here in places]

    torch.testing.assert_close(
        sum(parts), ScoreFirstSGD(model, PLAN, context.single_process(), n_chunks=5).compute_gradient(x, y)
    )
    assert (ranks == 3) == (parts[-1] == 0).all(), "the third of three has no rows"


def test_a_gradient_is_cut_to_the_norm_and_a_short_one_is_left_as_it_is():
    long, short = torch.full((100,), 3.0), torch.full((100,), 0.01)

    assert clip_norm_(long.clone(), 1.0).norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(clip_norm_(short.clone(), 1.0), short)
    assert torch.equal(clip_norm_(long.clone(), None), long)


def test_a_weight_that_the_loss_does_not_use_gets_zeros_in_its_place():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert compute_flat_gradient((used * 2).sum(), [unused, used]).tolist() == [0, 0, 0, 2, 2]
