"""golf.inference.score_first_sgd: SGD on scored chunks against a slow reference, and over ranks."""

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
from tests.helpers.ttt_settings import make_ttt_settings

TTT_CONFIG = make_ttt_settings(lr=0.1, epochs=2)


def make_chunk(index=0, is_last=False, rows=4, extra=0) -> ScoredChunk:
    tokens = np.random.default_rng(index).integers(0, 260, rows * 32 + 1 + extra).astype(np.uint16)
    return ScoredChunk(index, tokens, is_last, "")


@pytest.fixture
def model(tiny_model_config):
    return GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))


def train_on(model, *chunks, cfg=TTT_CONFIG, n_chunks=5):
    learner = ScoreFirstSGD(model, cfg, context.single_process(), n_chunks=n_chunks)
    for chunk in chunks:
        learner.train_on_chunk(chunk)
    return model


def has_equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_learner_is_plain_sgd_with_momentum_clip_and_a_cosine_over_chunks(model):
    reference, velocity = copy.deepcopy(model), {}
    for index in (0, 1):
        tokens = torch.from_numpy(make_chunk(index).tokens.astype(np.int64))
        x, y = tokens[:-1].view(4, 32), tokens[1:].view(4, 32)
        lr = 0.1 * 0.5 * (1 + math.cos(math.pi * index / 4))
        for _ in range(2):
            for rows in (slice(0, 2), slice(2, 4)):
                reference.zero_grad()
                reference.nll(x[rows], y[rows], recurrent=True).mean().backward()
                norm = math.sqrt(sum(p.grad.square().sum().item() for p in reference.parameters()))
                for name, p in reference.named_parameters():
                    gradient = p.grad * min(1.0, 1.0 / (norm + 1e-6))
                    velocity[name] = 0.9 * velocity.get(name, 0) + gradient
                    p.data -= lr * velocity[name]

    train_on(model, make_chunk(0), make_chunk(1))

    for ours, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_fixed_blocks_and_what_stands_before_and_after_them_stay_as_they_are(model):
    cfg = SimpleNamespace(**{**vars(TTT_CONFIG), "freeze_blocks": 2})
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    train_on(model, make_chunk(0), make_chunk(1), cfg=cfg)

    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    learned = {name for name in before if name.startswith("blocks.") and int(name.split(".")[1]) >= 2}
    assert {name for name in learned if "mlp" in name} <= changed <= learned
    train_on(model, make_chunk(0))
    assert not torch.equal(model.tok_emb.weight, before["tok_emb.weight"]), "a later pass may learn all weights"


@pytest.mark.parametrize("options", [{}, {"asym_softcap": True}])
def test_the_gradient_of_what_learns_is_the_same_beside_fixed_blocks(tiny_model_config, options):
    model = GPT(dataclasses.replace(tiny_model_config, **options)).init_weights(torch.Generator().manual_seed(0))
    for weight in model.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    x, y = torch.randint(260, (2, 3, 32), generator=torch.Generator().manual_seed(5))
    gradients = {}
    for n_frozen in (0, 2):
        cfg = SimpleNamespace(**{**vars(TTT_CONFIG), "freeze_blocks": n_frozen})
        flat = ScoreFirstSGD(model, cfg, context.single_process(), n_chunks=5).compute_gradient(x, y)
        learned = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        parts = flat.split([weight.numel() for _, weight in learned])
        gradients[n_frozen] = dict(zip([name for name, _ in learned], parts, strict=True))

    assert ("softcaps" in gradients[2]) == bool(options)
    assert 0 < len(gradients[2]) < len(gradients[0])
    for name, gradient in gradients[2].items():
        torch.testing.assert_close(gradient, gradients[0][name])


def test_the_last_chunk_is_not_trained_on(model):
    assert has_equal_weights(train_on(copy.deepcopy(model), make_chunk(4, is_last=True)), model)


def test_no_rate_and_no_epochs_leave_every_weight_as_it_was(model):
    for change in ({"lr": 0.0}, {"epochs": 0}):
        cfg = SimpleNamespace(**{**vars(TTT_CONFIG), **change})
        assert has_equal_weights(train_on(copy.deepcopy(model), make_chunk(0), cfg=cfg), model)


def test_training_refuses_what_was_not_scored(model):
    learner = ScoreFirstSGD(model, TTT_CONFIG, context.single_process(), n_chunks=5)
    with pytest.raises(TypeError, match="takes a ScoredChunk, got ndarray"):
        learner.train_on_chunk(make_chunk().tokens)


def test_tokens_after_the_last_whole_window_are_not_trained_on(model):
    first, second = copy.deepcopy(model), copy.deepcopy(model)
    longer = make_chunk(extra=7)
    train_on(first, longer)
    train_on(second, ScoredChunk(0, longer.tokens[:-7], False, ""))

    assert has_equal_weights(first, second)


def test_the_rate_falls_from_one_to_zero_over_the_chunks():
    assert [cosine_decay(c, 3) for c in range(3)] == pytest.approx([1, 0.5, 0])
    assert cosine_decay(0, 1) == 1


def test_a_step_makes_one_reduction_of_all_gradients_in_one_buffer_and_leaves_none_behind(model, monkeypatch):
    reduced = []
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: reduced.append(tensor.shape) or tensor)
    train_on(model, make_chunk(0))

    assert reduced == [(sum(weight.numel() for weight in model.parameters()),)] * 4, "two epochs of two steps"
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_ranks_add_up_to_the_gradient_of_one(model, monkeypatch, ranks):
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: tensor)
    x, y = torch.randint(260, (2, 2, 32), generator=torch.Generator().manual_seed(5))
    contexts = [dataclasses.replace(context.single_process(), rank=rank, world_size=ranks) for rank in range(ranks)]
    parts = [ScoreFirstSGD(model, TTT_CONFIG, ctx, n_chunks=5).compute_gradient(x, y) for ctx in contexts]

    torch.testing.assert_close(
        sum(parts), ScoreFirstSGD(model, TTT_CONFIG, context.single_process(), n_chunks=5).compute_gradient(x, y)
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


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_the_states_of_the_first_epoch_are_those_before_each_step(model, epochs):
    cfg, states = SimpleNamespace(**{**vars(TTT_CONFIG), "epochs": epochs}), []
    before = copy.deepcopy(model)
    learner = ScoreFirstSGD(model, cfg, context.single_process(), n_chunks=5, states=states)
    learner.train_on_chunk(make_chunk(0, extra=7))

    assert [tuple(batch.shape) for batch in states] == [(2, 32, model.cfg.d_model)] * (2 if epochs else 0)
    if epochs:
        first_rows = torch.from_numpy(make_chunk(0, extra=7).tokens[:64].astype(np.int64)).view(2, 32)
        with torch.no_grad():
            torch.testing.assert_close(states[0], before(first_rows, recurrent=True))
