import copy
import dataclasses

import pytest
import torch

from golf.ground import runtime, store
from golf.model.gpt import GPT
from golf.train.optimizer import Optimisers, group_of, groups
from golf.train.step import loss_function, warm_up

HALF = runtime.alone(dtype=torch.bfloat16)


def with_gradients(model: GPT, seed: int) -> GPT:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def fresh(shape) -> GPT:
    return GPT(shape).initialise(torch.Generator().manual_seed(0))


def steps(model: GPT, optimisers: Optimisers, numbers) -> torch.Tensor:
    """Steps on gradients that follow from the number; the last norm."""
    for number in numbers:
        norm = optimisers.step(number, 1.0, torch.zeros(())) if with_gradients(model, number) else None
    return norm


def test_every_parameter_is_in_exactly_one_group(tiny_shape):
    model = GPT(tiny_shape)
    found = groups(model)

    grouped = [parameter for group in found.values() for parameter in group.values()]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))


def test_muon_gets_the_matrices_of_blocks_and_nothing_else(tiny_shape):
    by_group = {}
    for name, parameter in GPT(tiny_shape).named_parameters():
        by_group.setdefault(group_of(name), {})[name] = parameter

    assert len(by_group["matrix"]) == 6 * tiny_shape.layers
    assert all(parameter.ndim == 2 for parameter in by_group["matrix"].values())
    assert set(by_group["embed"]) == {"tok_emb.weight"}
    assert "skip_weights" in by_group["scalar"]


def test_every_rate_follows_the_multiplier(tiny_shape, tiny_train):
    full, none = fresh(tiny_shape), fresh(tiny_shape)
    for model, multiplier in ((full, 1.0), (none, 0.0)):
        optimisers = Optimisers(with_gradients(model, 0), tiny_train, HALF)
        optimisers.step(0, multiplier, torch.zeros(()))

    start = fresh(tiny_shape).state_dict()
    for name, tensor in none.state_dict().items():
        assert torch.equal(tensor, start[name])
        assert tensor.numel() == 0 or not torch.equal(full.state_dict()[name], start[name])


def test_momentum_follows_the_step(tiny_shape, tiny_train):
    model = fresh(tiny_shape)
    optimisers = Optimisers(model, dataclasses.replace(tiny_train, clip=None), HALF)
    name = "blocks.0.mlp.fc.weight"
    expected = torch.zeros_like(model.get_parameter(name))
    for number, momentum in enumerate((tiny_train.momentum_start, 0.5 * (0.85 + 0.95), tiny_train.momentum)):
        optimisers.step(number * tiny_train.momentum_steps // 2, 1.0, torch.zeros(())) if with_gradients(
            model, number
        ) else None
        expected = momentum * expected + model.get_parameter(name).grad

    torch.testing.assert_close(optimisers.state_dict()[f"muon/{name}/momentum"], expected)


@pytest.mark.parametrize("clip", [0.3, None])
def test_the_norm_is_that_of_all_gradients_and_clips_all_of_them(tiny_shape, tiny_train, clip):
    model = with_gradients(fresh(tiny_shape), 0)
    gradients = {name: parameter.grad.double().clone() for name, parameter in model.named_parameters()}
    optimisers = Optimisers(model, dataclasses.replace(tiny_train, clip=clip), HALF)

    norm = optimisers.step(0, 1.0, torch.zeros(()))

    exact = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    assert norm.item() == pytest.approx(exact.item(), rel=1e-6)
    share = 1.0 if clip is None else clip / exact
    state = optimisers.state_dict()
    for name, gradient in gradients.items():
        kept = state[f"muon/{name}/momentum"] if group_of(name) == "matrix" else state[f"adam/{name}/exp_avg"] / 0.1
        torch.testing.assert_close(kept.double(), gradient * share, rtol=1e-5, atol=1e-7)


def test_no_weight_and_no_state_is_kept_in_half_precision(tiny_shape, tiny_train):
    model = fresh(tiny_shape)
    optimisers = Optimisers(model, dataclasses.replace(tiny_train, normuon=0.95), HALF)
    steps(model, optimisers, [0])

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in optimisers.state()} == {torch.float32}


@pytest.mark.parametrize("normuon", [None, 0.95])
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_run_that_goes_on_from_a_saved_state_is_the_run_that_never_stopped(
    tiny_shape, tiny_train, tmp_path, normuon, taken
):
    train = dataclasses.replace(tiny_train, normuon=normuon)
    through, stopped = fresh(tiny_shape), fresh(tiny_shape)
    whole = Optimisers(through, train, HALF)
    steps(through, whole, range(5))
    first = Optimisers(stopped, train, HALF)
    if taken:
        steps(stopped, first, range(taken))
    store.save_tensors(tmp_path / "state", first.state_dict(), kind="state", meta={})

    resumed = GPT(tiny_shape)
    resumed.load_state_dict(stopped.state_dict())
    second = Optimisers(resumed, train, HALF)
    second.load_state_dict(store.load_tensors(tmp_path / "state")[0])
    steps(resumed, second, range(taken, 5))

    for name, tensor in through.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    ours, theirs = second.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_state_is_named_by_parameter_and_kind(tiny_shape, tiny_train):
    model = fresh(tiny_shape)
    optimisers = Optimisers(model, dataclasses.replace(tiny_train, normuon=0.95), HALF)
    steps(model, optimisers, [0])
    kinds = {"matrix": ("momentum", "moment"), "embed": ("step", "exp_avg", "exp_avg_sq")}
    kinds["scalar"] = kinds["embed"]

    expected = {
        f"{'muon' if group_of(name) == 'matrix' else 'adam'}/{name}/{kind}"
        for name, _ in model.named_parameters()
        for kind in kinds[group_of(name)]
    }
    assert optimisers.state_dict().keys() == expected


def test_a_state_with_a_tensor_missing_or_unknown_is_refused(tiny_shape, tiny_train):
    model = fresh(tiny_shape)
    optimisers = Optimisers(model, tiny_train, HALF)
    steps(model, optimisers, [0])
    saved = optimisers.state_dict()

    with pytest.raises(ValueError, match=r"adam/tok_emb\.weight/exp_avg: expected .*, got nothing"):
        Optimisers(fresh(tiny_shape), tiny_train, HALF).load_state_dict(
            {name: tensor for name, tensor in saved.items() if name != "adam/tok_emb.weight/exp_avg"}
        )
    with pytest.raises(ValueError, match="unknown sgd/x"):
        Optimisers(fresh(tiny_shape), tiny_train, HALF).load_state_dict(saved | {"sgd/x": torch.zeros(1)})


def test_nothing_of_the_warm_up_is_in_the_state_of_the_run(tiny_shape, tiny_train):
    train = dataclasses.replace(tiny_train, normuon=0.95)
    cold, warm = fresh(tiny_shape), fresh(tiny_shape)
    before = copy.deepcopy(warm.state_dict())
    optimisers = [Optimisers(model, train, HALF) for model in (cold, warm)]  # even those made before it

    warm_up(warm, loss_function(warm, HALF), dataclasses.replace(train, warmup_steps=2), HALF)

    assert all(torch.equal(tensor, before[name]) for name, tensor in warm.state_dict().items())
    assert not optimisers[1].state()
    for model, each in zip((cold, warm), optimisers, strict=True):
        steps(model, each, range(2))
    for a, b in zip(*(each.state() for each in optimisers), strict=True):
        assert torch.equal(a, b)
