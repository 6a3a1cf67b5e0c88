import torch

from golf.model.gpt import GPT
from golf.train.optimizer import Optimisers, group_of, groups


def test_every_parameter_is_in_exactly_one_group(tiny_shape):
    model = GPT(tiny_shape)
    found = groups(model)

    grouped = [parameter for group in found.values() for parameter in group]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))


def test_muon_gets_the_matrices_of_blocks_and_nothing_else(tiny_shape):
    by_group = {}
    for name, parameter in GPT(tiny_shape).named_parameters():
        by_group.setdefault(group_of(name), {})[name] = parameter

    assert len(by_group["matrix"]) == 6 * tiny_shape.layers
    assert all(parameter.ndim == 2 for parameter in by_group["matrix"].values())
    assert set(by_group["embed"]) == {"tok_emb.weight"}
    assert "skip_weights" in by_group["scalar"]


def test_rates_follow_the_multiplier_and_momentum_the_step(tiny_shape, tiny_train):
    model = GPT(tiny_shape)
    optimisers = Optimisers(model, tiny_train, torch.bfloat16)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    optimisers.step(0, 0.5)

    assert optimisers.muon.param_groups[0]["lr"] == 0.5 * tiny_train.matrix_lr
    assert [group["lr"] for group in optimisers.adam.param_groups] == [
        0.5 * tiny_train.embed_lr,
        0.5 * tiny_train.scalar_lr,
    ]
    assert optimisers.muon.param_groups[0]["momentum"] == tiny_train.momentum_start


def test_no_weight_and_no_state_is_kept_in_half_precision(tiny_shape, tiny_train):
    model = GPT(tiny_shape)
    optimisers = Optimisers(model, tiny_train, torch.bfloat16)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimisers.step(0, 1.0)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in optimisers.state()} == {torch.float32}
