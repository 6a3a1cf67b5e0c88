"""golf/training/muon.py against one matrix at a time in float64."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.distributed import context
from golf.training import muon
from golf.training.muon import Muon

QUINTIC, POLAR = muon.get_ns_coefficients("quintic", 5), muon.get_ns_coefficients("polar_express", 5)
COEFFICIENTS = pytest.mark.parametrize("iterations", [QUINTIC, POLAR], ids=["quintic", "polar_express"])


def unit(*shape, seed: int = 0) -> torch.Tensor:
    """Random matrices of Frobenius norm 1, float64."""
    u = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return u / u.norm(dim=(-2, -1), keepdim=True)


def slow_orthogonal(u: torch.Tensor, iterations) -> torch.Tensor:
    """Muon's iteration on one matrix, as the formula is written."""
    x = u.T if u.shape[0] > u.shape[1] else u
    x = x / (x.norm() + 1e-7)
    for a, b, c in iterations:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if u.shape[0] > u.shape[1] else x


@COEFFICIENTS
@pytest.mark.parametrize("shape", [(12, 12), (12, 17), (12, 48)])
def test_a_bank_moves_as_the_formula_moves_each_matrix_alone(shape, iterations):
    bank = unit(4, *shape)

    together = muon.orthogonalize(bank, iterations)

    for matrix, result in zip(bank, together, strict=True):
        torch.testing.assert_close(result, slow_orthogonal(matrix, iterations), rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 24), longer=st.integers(0, 60))
def test_singular_values_come_near_one_and_directions_stay(seed, rows, longer):
    u = unit(1, rows, rows + longer, seed=seed)[0]
    left, values, right = torch.linalg.svd(u, full_matrices=False)

    for iterations, low, high in ((QUINTIC, 0.67, 1.21), (POLAR, 0.85, 1.15)):
        result = left.T @ muon.orthogonalize(u[None], iterations)[0] @ right.T
        torch.testing.assert_close(result, result.diagonal().diag(), atol=1e-5, rtol=0)
        large = result.diagonal()[values > 0.02]  # what five iterations reach
        assert ((large > low) & (large < high)).all()


@COEFFICIENTS
@pytest.mark.parametrize("smallest", [0.0, 1e-5])
def test_bf16_keeps_matrices_of_low_rank_bounded(iterations, smallest):
    left, _, right = torch.linalg.svd(unit(2, 64, 256), full_matrices=False)
    values = torch.cat([torch.ones(8), torch.full((56,), smallest)]).double()
    u = left * values @ right

    result = muon.orthogonalize((u / u.norm(dim=(-2, -1), keepdim=True)).bfloat16(), iterations)

    assert torch.linalg.svdvals(result.float()).max() < 1.35


def test_coefficients_are_those_of_the_record_and_of_polar_express():
    assert QUINTIC == ((3.4445, -4.775, 2.0315),) * 5
    assert muon.get_ns_coefficients("polar_express", 2) == (
        (8.15655, -22.48329, 15.87877),
        (4.04293, -2.80892, 0.50002),
    )
    assert POLAR[-1] == (2.34654, -1.70978, 0.42324)


@given(count=st.integers(0, 12), size=st.integers(1, 4))
def test_parts_are_the_iterations_in_order_none_longer_than_asked(count, size):
    result = muon.chunk_iterations(tuple(range(count)), size)

    assert [i for part in result for i in part] == list(range(count))
    assert all(0 < len(part) <= size for part in result)


def slow_step(weight, gradient, state, cfg, momentum, clip_scale):
    """Muon and NorMuon for one matrix in float64; state: momentum and second moment of rows."""
    state["m"] = momentum * state["m"] + gradient * clip_scale
    u = gradient * clip_scale + momentum * state["m"]
    u = u / u.norm(dim=1, keepdim=True).clamp_min(1e-7)
    o = slow_orthogonal(u, muon.get_ns_coefficients(cfg.ns_coefficients, cfg.ns_steps))
    if cfg.normuon_beta2 is not None:
        b = cfg.normuon_beta2
        state["v"] = b * state["v"] + (1 - b) * o.square().mean(dim=1)
        even = o / (state["v"].sqrt()[:, None] + 1e-7)
        o = even * o.norm() / even.norm()
    scale = max(1, weight.shape[0] / weight.shape[1]) ** 0.5
    return weight * (1 - cfg.muon_lr * cfg.muon_weight_decay) - cfg.muon_lr * scale * o


def parameters(dtype=torch.float32) -> dict[str, torch.nn.Parameter]:
    """Two sizes of matrices, one of them in both orientations, which come mixed."""
    shapes = {"fc": (64, 16), "q": (16, 16), "proj": (16, 64), "fc2": (64, 16), "k": (16, 16)}
    return {name: torch.nn.Parameter(unit(*shape).to(dtype)) for name, shape in shapes.items()}


def step(optimizer: Muon, gradients: dict, clip_scale: float = 1.0, momentum: float = 0.9) -> None:
    for bank in optimizer.banks:
        for name, parameter in zip(bank.names, bank.parameters, strict=True):
            parameter.grad = gradients[name]
    optimizer.start_reduce_scatter()
    optimizer.wait_local_grads()
    optimizer.compute_updates(torch.tensor(clip_scale), momentum)
    optimizer.apply_updates(optimizer.lr)


def make_muon(tiny_train, weights, dtype=torch.float32, **changes) -> Muon:
    cfg = dataclasses.replace(tiny_train, **changes)
    optimizer = Muon(weights, cfg, context.single_process(dtype=dtype))
    optimizer.lr = cfg.muon_lr
    return optimizer


def gradients(weights, seed: int) -> dict[str, torch.Tensor]:
    return {name: unit(*weight.shape, seed=seed + i).float() for i, (name, weight) in enumerate(weights.items())}


@pytest.mark.parametrize("normuon_beta2", [None, 0.95])
@pytest.mark.parametrize("coefficients", ["quintic", "polar_express"])
def test_three_steps_are_the_formulas_of_muon_and_normuon(tiny_train_config, coefficients, normuon_beta2):
    weights = parameters()
    optimizer = make_muon(tiny_train_config, weights, ns_coefficients=coefficients, normuon_beta2=normuon_beta2)
    slow = {name: weight.detach().double() for name, weight in weights.items()}
    states = {n: {"m": torch.zeros_like(w), "v": torch.zeros(len(w), dtype=torch.float64)} for n, w in slow.items()}
    cfg = dataclasses.replace(tiny_train_config, ns_coefficients=coefficients, normuon_beta2=normuon_beta2)
    for number in range(3):
        step_gradients = gradients(weights, 10 * number)
        step(optimizer, step_gradients, clip_scale=0.5, momentum=0.8 + 0.05 * number)
        for name, gradient in step_gradients.items():
            slow[name] = slow_step(slow[name], gradient.double(), states[name], cfg, 0.8 + 0.05 * number, 0.5)

    for name, weight in weights.items():
        torch.testing.assert_close(weight.detach().double(), slow[name], atol=2e-6, rtol=0)
        torch.testing.assert_close(optimizer.state_dict()[f"muon/{name}/momentum"].double(), states[name]["m"])


def test_bf16_moves_weights_as_fp32_does_to_a_few_percent_and_keeps_them_in_fp32(tiny_train_config):
    start, exact, rough = parameters(), parameters(), parameters()
    for weights, dtype in ((exact, torch.float32), (rough, torch.bfloat16)):
        optimizer = make_muon(tiny_train_config, weights, dtype)
        for number in range(2):
            step(optimizer, gradients(weights, number))

    for name, weight in exact.items():
        assert (weight - rough[name]).norm() < 0.04 * (weight - start[name]).norm()
        assert rough[name].dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_gradients_scale_does_not_matter_to_muon(tiny_train_config, scale):
    plain, scaled = parameters(), parameters()
    step(make_muon(tiny_train_config, plain), gradients(plain, 0))
    step(make_muon(tiny_train_config, scaled), {name: g * scale for name, g in gradients(scaled, 0).items()})

    for name, weight in plain.items():
        torch.testing.assert_close(weight, scaled[name], atol=1e-6, rtol=0)


@given(seed=st.integers(0, 1000), decay=st.sampled_from([0.0, 0.5, 0.95]))
def test_normuon_evens_the_rows_and_keeps_the_norm(seed, decay):
    o = unit(3, 6, 20, seed=seed) * torch.linspace(0.1, 3, 6, dtype=torch.float64)[:, None]
    moment = torch.zeros(3, 6, 1, dtype=torch.float64)

    even = muon.apply_normuon(o, moment, decay)

    torch.testing.assert_close(even.norm(dim=(-2, -1)), o.norm(dim=(-2, -1)))
    rows = even.norm(dim=-1)
    torch.testing.assert_close(rows, rows.mean(dim=-1, keepdim=True).expand_as(rows), rtol=1e-3, atol=0)
    torch.testing.assert_close(moment, (1 - decay) * o.square().mean(dim=-1, keepdim=True))


def test_a_matrix_without_a_gradient_only_decays(tiny_train_config):
    weights = parameters()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    zero = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    step(make_muon(tiny_train_config, weights, normuon_beta2=0.95, muon_weight_decay=0.1), zero)

    for name, weight in weights.items():
        torch.testing.assert_close(weight.detach(), before[name] * (1 - 0.1 * tiny_train_config.muon_lr))


def test_matrices_of_a_shape_and_of_its_transpose_are_one_bank(tiny_train_config):
    names = [set(bank.names) for bank in make_muon(tiny_train_config, parameters()).banks]
    assert names == [{"fc", "fc2", "proj"}, {"q", "k"}]  # the most costly first


def test_a_state_of_other_matrices_is_refused_by_name(tiny_train_config):
    weights = parameters()
    optimizer = make_muon(tiny_train_config, weights)
    step(optimizer, gradients(weights, 0))
    saved = optimizer.state_dict()

    with pytest.raises(ValueError, match=r"muon/q/second_moment: expected \[16, 1\] torch.float32, got nothing"):
        make_muon(tiny_train_config, parameters(), normuon_beta2=0.95).load_state_dict(
            saved
            | {"muon/k/second_moment": torch.zeros(16, 1)}
            | {f"muon/{n}/second_moment": torch.zeros(len(weights[n]), 1) for n in ("fc", "fc2", "proj")}
        )
    with pytest.raises(ValueError, match=r"muon/q/momentum: expected \[16, 16\] torch.float32, got \[8, 16\]"):
        make_muon(tiny_train_config, parameters()).load_state_dict(saved | {"muon/q/momentum": torch.zeros(8, 16)})
