"""golf.quantization.column_scales: steps follow sensitivities and Hessians, and beat one scale per row."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import report
from golf.quantization.column_scales import SENSITIVITY_FLOOR, ColumnScales, round_mantissa
from golf.quantization.gptq import factorize, gptq
from tests.helpers.quantization_inputs import draw_hessian, draw_weights

FP16 = torch.finfo(torch.float16)


def make_scales(weights, hessians, sensitivity) -> ColumnScales:
    return ColumnScales.from_sensitivity(
        weights, {name: factorize(h[None], 0.01).diag[0] for name, h in hessians.items()}, sensitivity
    )


def quantize(w, h, row_scales, col_scales) -> quantized_tensor.QuantizedTensor:
    codes = gptq(w[None], factorize(h[None], 0.01), row_scales[None], col_scales[None], block_size=128)[0]
    return quantized_tensor.QuantizedTensor(codes.to(torch.int16), row_scales, col_scales)


def random_problem(seed: int = 0):
    weights = {"a": draw_weights(24, 32, seed), "b": 0.1 * draw_weights(40, 16, seed + 1)}
    hessians = {"a": draw_hessian(32, seed), "b": draw_hessian(16, seed + 1)}
    generator = torch.Generator().manual_seed(seed)
    return weights, hessians, {name: torch.rand(len(w), generator=generator) + 0.1 for name, w in weights.items()}


def test_a_step_falls_with_the_sensitivity_of_its_row_and_the_diagonal_of_its_column():
    weights, hessians, sensitivity = random_problem()
    scales = make_scales(weights, hessians, sensitivity)
    unit = {}
    for name, w in weights.items():
        a = sensitivity[name].double()
        a = (a + a.mean()) / 2
        diag = factorize(hessians[name][None], 0.01).diag[0].double()
        steps = scales.compute_row_scales(name, 1.0).double()[:, None] * scales.col_scales[name].double()
        assert steps.shape == w.shape
        unit[name] = steps * a.sqrt()[:, None] * diag
        assert float(unit[name].max() / unit[name].min()) < 1.9  # mantissas are rounded
    means = [float(units.log().mean()) for units in unit.values()]
    assert means[0] == pytest.approx(means[1], abs=0.15)


@pytest.mark.parametrize("base_step", [0.1, 0.8])
def test_the_base_step_is_the_geometric_mean_of_steps_over_the_spread(base_step):
    weights, hessians, sensitivity = random_problem()
    scales = make_scales(weights, hessians, sensitivity)
    logs = [
        (
            scales.compute_row_scales(name, base_step).double()[:, None]
            * scales.col_scales[name].double()
            / w.double().std()
        )
        .log()
        .flatten()
        for name, w in weights.items()
    ]
    assert math.exp(float(torch.cat(logs).mean())) == pytest.approx(base_step, rel=0.06)


def test_steps_depend_neither_on_the_scale_of_hessians_nor_of_sensitivities():
    weights, hessians, sensitivity = random_problem()
    hessians["a"][3], hessians["a"][:, 3] = 0, 0
    one = make_scales(weights, hessians, sensitivity)
    two = make_scales(
        weights, {n: h * 2.0**20 for n, h in hessians.items()}, {n: a * 2.0**-30 for n, a in sensitivity.items()}
    )
    for name in weights:
        assert torch.equal(one.col_scales[name], two.col_scales[name])
        assert torch.allclose(
            one.compute_row_scales(name, 0.5).float(), two.compute_row_scales(name, 0.5).float(), rtol=2**-9
        )


@given(st.integers(0, 2**20), st.sampled_from([0.3, 0.6, 1.0]))
def test_the_column_grid_errs_less_than_the_row_grid_at_equal_entropy(seed, base_step):
    w, h = draw_weights(64, 48, seed), draw_hessian(48, seed)
    scales = make_scales({"a": w}, {"a": h}, {"a": torch.ones(64)})
    row_column = quantize(w, h, scales.compute_row_scales("a", base_step), scales.col_scales["a"])
    low, high = 1e-3, 10.0
    for _ in range(12):  # the row scale of the same entropy, from below, so that its codes cost no less
        middle = math.sqrt(low * high)
        row = quantize(w, h, torch.full((64,), middle), torch.ones(48))
        low, high = (
            (middle, high)
            if report.compute_empirical_entropy(row.codes) > report.compute_empirical_entropy(row_column.codes)
            else (low, middle)
        )
    row = quantize(w, h, torch.full((64,), low), torch.ones(48))
    assert report.compute_output_error(w, row_column, h) < report.compute_output_error(w, row, h)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_rounding_keeps_few_bits_and_is_off_by_half_of_the_last(bits):
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double() * 100 + 1e-3
    y = round_mantissa(x, bits)
    assert ((y / x - 1).abs() <= 2.0 ** -(bits + 1)).all()
    assert len(torch.frexp(y)[0].unique()) <= 2**bits


def test_column_steps_leave_the_low_byte_of_fp16_empty():
    weights, hessians, sensitivity = random_problem()
    for steps in make_scales(weights, hessians, sensitivity).col_scales.values():
        assert (steps.view(torch.int16) & 0xFF).eq(0).all()


def test_a_tensor_of_no_sensitivity_still_gets_a_finite_step():
    weights, hessians, sensitivity = random_problem()
    sensitivity["b"] = torch.zeros(40)
    scales = make_scales(weights, hessians, sensitivity)
    least = sensitivity["a"].mean() * SENSITIVITY_FLOOR
    kept = make_scales(weights, hessians, sensitivity | {"b": torch.full((40,), float(least))})
    assert torch.equal(scales.compute_row_scales("b", 0.5), kept.compute_row_scales("b", 0.5))


def test_sensitivities_that_are_all_zero_give_finite_scales():
    weights, hessians, _ = random_problem()
    scales = make_scales(weights, hessians, {name: torch.zeros(len(w)) for name, w in weights.items()})
    assert all(scales.compute_row_scales(name, 0.5).isfinite().all() for name in weights)


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 32), (24, 1), (1, 1), (24, 32)])
def test_constant_and_zero_tensors_of_any_shape_come_back_within_half_a_step(value, shape):
    w, h = torch.full(shape, value), torch.eye(shape[1])
    scales = make_scales({"a": w}, {"a": h}, {"a": torch.ones(shape[0])})
    quantized = quantize(w, h, scales.compute_row_scales("a", 0.5), scales.col_scales["a"])
    steps = quantized.row_scales.float()[:, None] * quantized.col_scales.float()
    assert ((quantized_tensor.dequantize(quantized) - w).abs() <= steps / 2 * 1.001).all()


@pytest.mark.parametrize(("base_step", "message"), [(1e-9, "is 0 in fp16; raise it"), (1e9, "beyond fp16; lower it")])
def test_a_base_step_whose_scales_fp16_cannot_hold_is_refused_by_name(base_step, message):
    weights, hessians, sensitivity = random_problem()
    scales = make_scales({name: 1e-3 * w for name, w in weights.items()}, hessians, sensitivity)
    with pytest.raises(DivergenceError, match=rf"a: quantize\.base_step = .* {message}"):
        scales.compute_row_scales("a", base_step)
