import copy
import dataclasses

import pytest
import torch

from golf.artifacts import io
from golf.distributed import context
from golf.model.gpt import GPT
from golf.training.optimizer import MuonAdamW, get_param_group, group_parameters
from golf.training.step import compile_warmup, make_loss_fn

HALF = context.single_process(dtype=torch.bfloat16)


def with_gradients(model: GPT, seed: int) -> GPT:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def make_model(model_cfg) -> GPT:
    return GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))


def make_steps(model: GPT, optimizer: MuonAdamW, numbers) -> torch.Tensor:
    """Steps on gradients that follow from the number; the last norm."""
    for number in numbers:
        norm = optimizer.step(number, 1.0, torch.zeros(())) if with_gradients(model, number) else None
    return norm


def test_every_parameter_is_in_exactly_one_group(tiny_model_config):
    model = GPT(tiny_model_config)
    groups = group_parameters(model)

    grouped = [parameter for group in groups.values() for parameter in group.values()]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))


def test_muon_gets_the_matrices_of_blocks_and_nothing_else(tiny_model_config):
    by_group = {}
    for name, parameter in GPT(tiny_model_config).named_parameters():
        by_group.setdefault(get_param_group(name), {})[name] = parameter

    assert len(by_group["matrix"]) == 6 * tiny_model_config.n_layers
    assert all(parameter.ndim == 2 for parameter in by_group["matrix"].values())
    assert set(by_group["embed"]) == {"tok_emb.weight"}
    assert "skip_weights" in by_group["scalar"]


def test_muon_gets_the_dense_gate_alone_of_what_options_add(tiny_model_config):
    plain = {name for name, _ in GPT(tiny_model_config).named_parameters()}
    for kind in ("dense", "sparse", "output"):
        options = {
            "attn_gate": kind,
            "smear_gate_bos_id": 1,
            "conv_kernel": 3,
            "two_lane_from": 3,
            "asym_softcap": True,
        }
        names = {name for name, _ in GPT(dataclasses.replace(tiny_model_config, **options)).named_parameters()} - plain
        matrices = {name for name in names if get_param_group(name) == "matrix"}
        gates = {f"blocks.{layer}.attn.gate.proj.weight" for layer in range(4)}
        assert matrices == (gates if kind == "dense" else set())
        assert {get_param_group(name) for name in names - matrices} == {"scalar"}


@pytest.mark.parametrize("decay_schedule", ["constant", "cautious"])
def test_weight_decay_is_the_one_of_its_formula(tiny_model_config, tiny_train_config, decay_schedule):
    """Against the same steps without decay: p - lr · multiplier · decay · p, cautiously only where p u >= 0."""
    decays = {"muon_weight_decay": 0.2, "embed_weight_decay": 0.3, "scalar_weight_decay": 0.4}
    cfg = dataclasses.replace(tiny_train_config, decay_schedule=decay_schedule, grad_clip=None)
    none = dataclasses.replace(cfg, **dict.fromkeys(decays, 0.0), decay_schedule="constant")
    start, decayed, undecayed = (make_model(tiny_model_config) for _ in range(3))
    for model, each in ((decayed, dataclasses.replace(cfg, **decays)), (undecayed, none)):
        optimizer = MuonAdamW(with_gradients(model, 0), each, context.single_process())
        optimizer.step(0, 0.5, torch.zeros(()), 0.5)

    for name, before in start.named_parameters():
        group = get_param_group(name)
        lr, decay = {"matrix": (cfg.muon_lr, 0.2), "embed": (cfg.embed_lr, 0.3), "scalar": (cfg.scalar_lr, 0.4)}[group]
        after = undecayed.get_parameter(name).detach().double()
        update = before.double() - after
        mask = torch.ones_like(update) if decay_schedule == "constant" else (before * update >= 0).double()
        expected = after - 0.25 * lr * decay * before.double() * mask
        torch.testing.assert_close(decayed.get_parameter(name).detach().double(), expected, rtol=1e-5, atol=1e-7)


def test_every_rate_follows_the_multiplier(tiny_model_config, tiny_train_config):
    full, none = make_model(tiny_model_config), make_model(tiny_model_config)
    for model, multiplier in ((full, 1.0), (none, 0.0)):
        optimizer = MuonAdamW(with_gradients(model, 0), tiny_train_config, HALF)
        optimizer.step(0, multiplier, torch.zeros(()))

    start = make_model(tiny_model_config).state_dict()
    for name, tensor in none.state_dict().items():
        assert torch.equal(tensor, start[name])
        assert tensor.numel() == 0 or not torch.equal(full.state_dict()[name], start[name])


def test_momentum_follows_the_step(tiny_model_config, tiny_train_config):
    model = make_model(tiny_model_config)
    optimizer = MuonAdamW(model, dataclasses.replace(tiny_train_config, grad_clip=None), HALF)
    name = "blocks.0.mlp.fc.weight"
    expected = torch.zeros_like(model.get_parameter(name))
    for number, momentum in enumerate(
        (tiny_train_config.muon_momentum_start, 0.5 * (0.85 + 0.95), tiny_train_config.muon_momentum)
    ):
        optimizer.step(
            number * tiny_train_config.muon_momentum_warmup_steps // 2, 1.0, torch.zeros(())
        ) if with_gradients(model, number) else None
        expected = momentum * expected + model.get_parameter(name).grad

    torch.testing.assert_close(optimizer.state_dict()[f"muon/{name}/momentum"], expected)


@pytest.mark.parametrize("grad_clip", [0.3, None])
def test_the_norm_is_that_of_all_gradients_and_clips_all_of_them(tiny_model_config, tiny_train_config, grad_clip):
    model = with_gradients(make_model(tiny_model_config), 0)
    gradients = {name: parameter.grad.double().clone() for name, parameter in model.named_parameters()}
    optimizer = MuonAdamW(model, dataclasses.replace(tiny_train_config, grad_clip=grad_clip), HALF)

    norm = optimizer.step(0, 1.0, torch.zeros(()))

    exact = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    assert norm.item() == pytest.approx(exact.item(), rel=1e-6)
    share = 1.0 if grad_clip is None else grad_clip / exact
    state = optimizer.state_dict()
    for name, gradient in gradients.items():
        kept = (
            state[f"muon/{name}/momentum"]
            if get_param_group(name) == "matrix"
            else state[f"adamw/{name}/exp_avg"] / 0.1
        )
        torch.testing.assert_close(kept.double(), gradient * share, rtol=1e-5, atol=1e-7)


def test_no_weight_and_no_state_is_kept_in_half_precision(tiny_model_config, tiny_train_config):
    model = make_model(tiny_model_config)
    optimizer = MuonAdamW(model, dataclasses.replace(tiny_train_config, normuon_beta2=0.95), HALF)
    make_steps(model, optimizer, [0])

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in optimizer.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("normuon_beta2", [None, 0.95])
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_run_that_goes_on_from_a_saved_state_is_the_run_that_never_stopped(
    tiny_model_config, tiny_train_config, tmp_path, normuon_beta2, taken
):
    train = dataclasses.replace(tiny_train_config, normuon_beta2=normuon_beta2)
    through, stopped = make_model(tiny_model_config), make_model(tiny_model_config)
    whole = MuonAdamW(through, train, HALF)
    make_steps(through, whole, range(5))
    first = MuonAdamW(stopped, train, HALF)
    if taken:
        make_steps(stopped, first, range(taken))
    io.save_tensors(tmp_path / "state", first.state_dict(), kind="state", meta={})

    resumed = GPT(tiny_model_config)
    resumed.load_state_dict(stopped.state_dict())
    second = MuonAdamW(resumed, train, HALF)
    second.load_state_dict(io.load_tensors(tmp_path / "state")[0])
    make_steps(resumed, second, range(taken, 5))

    for name, tensor in through.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    ours, theirs = second.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_state_is_named_by_parameter_and_kind(tiny_model_config, tiny_train_config):
    model = make_model(tiny_model_config)
    optimizer = MuonAdamW(model, dataclasses.replace(tiny_train_config, normuon_beta2=0.95), HALF)
    make_steps(model, optimizer, [0])
    kinds = {"matrix": ("momentum", "second_moment"), "embed": ("step", "exp_avg", "exp_avg_sq")}
    kinds["scalar"] = kinds["embed"]

    expected = {
        f"{'muon' if get_param_group(name) == 'matrix' else 'adamw'}/{name}/{kind}"
        for name, _ in model.named_parameters()
        for kind in kinds[get_param_group(name)]
    }
    assert optimizer.state_dict().keys() == expected


def test_a_state_with_a_tensor_missing_or_unknown_is_refused(tiny_model_config, tiny_train_config):
    model = make_model(tiny_model_config)
    optimizer = MuonAdamW(model, tiny_train_config, HALF)
    make_steps(model, optimizer, [0])
    saved = optimizer.state_dict()

    with pytest.raises(ValueError, match=r"adamw/tok_emb\.weight/exp_avg: expected .*, got nothing"):
        MuonAdamW(make_model(tiny_model_config), tiny_train_config, HALF).load_state_dict(
            {name: tensor for name, tensor in saved.items() if name != "adamw/tok_emb.weight/exp_avg"}
        )
    with pytest.raises(ValueError, match="unknown sgd/x"):
        MuonAdamW(make_model(tiny_model_config), tiny_train_config, HALF).load_state_dict(
            saved | {"sgd/x": torch.zeros(1)}
        )


def test_nothing_of_the_warm_up_is_in_the_state_of_the_run(tiny_model_config, tiny_train_config):
    train = dataclasses.replace(tiny_train_config, normuon_beta2=0.95)
    cold, warm = make_model(tiny_model_config), make_model(tiny_model_config)
    before = copy.deepcopy(warm.state_dict())
    optimizers = [MuonAdamW(model, train, HALF) for model in (cold, warm)]  # even those made before it

    compile_warmup(warm, make_loss_fn(warm, HALF), dataclasses.replace(train, compile_warmup_steps=2), HALF)

    assert all(torch.equal(tensor, before[name]) for name, tensor in warm.state_dict().items())
    assert not optimizers[1].state_dict()
    for model, each in zip((cold, warm), optimizers, strict=True):
        make_steps(model, each, range(2))
    for a, b in zip(*(each.state_dict().values() for each in optimizers), strict=True):
        assert torch.equal(a, b)
