import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import column_scales as module
from golf.quantization import report
from golf.quantization.column_scales import ColumnScales, round_mantissa
from golf.quantization.gptq import factorize, gptq
from tests.unit.quantization.test_gptq import correlated, drawn

FP16 = torch.finfo(torch.float16)


def made(weights, hessians, sensitivity) -> ColumnScales:
    return ColumnScales.from_sensitivity(
        weights, {name: factorize(h[None], 0.01).diag[0] for name, h in hessians.items()}, sensitivity
    )


def quantized(w, h, rows, columns) -> quantized_tensor.QuantizedTensor:
    codes = gptq(w[None], factorize(h[None], 0.01), rows[None], columns[None], block_size=128)[0]
    return quantized_tensor.QuantizedTensor(codes.to(torch.int16), rows, columns)


def problem(seed: int = 0):
    weights = {"a": drawn(24, 32, seed), "b": 0.1 * drawn(40, 16, seed + 1)}
    hessians = {"a": correlated(32, seed), "b": correlated(16, seed + 1)}
    generator = torch.Generator().manual_seed(seed)
    return weights, hessians, {name: torch.rand(len(w), generator=generator) + 0.1 for name, w in weights.items()}


def test_a_step_falls_with_what_the_loss_minds_of_its_row_and_with_what_its_column_carries():
    weights, hessians, sensitivity = problem()
    found = made(weights, hessians, sensitivity)
    unit = {}
    for name, w in weights.items():
        a = sensitivity[name].double()
        a = (a + a.mean()) / 2
        diag = factorize(hessians[name][None], 0.01).diag[0].double()
        steps = found.compute_row_scales(name, 1.0).double()[:, None] * found.col_scales[name].double()
        assert steps.shape == w.shape
        unit[name] = steps * a.sqrt()[:, None] * diag
        assert float(unit[name].max() / unit[name].min()) < 1.9  # the mantissas that are kept
    means = [float(each.log().mean()) for each in unit.values()]
    assert means[0] == pytest.approx(means[1], abs=0.15)


@pytest.mark.parametrize("level", [0.1, 0.8])
def test_the_level_is_the_geometric_mean_of_steps_in_standard_deviations(level):
    weights, hessians, sensitivity = problem()
    found = made(weights, hessians, sensitivity)
    logs = [
        (found.compute_row_scales(name, level).double()[:, None] * found.col_scales[name].double() / w.double().std())
        .log()
        .flatten()
        for name, w in weights.items()
    ]
    assert math.exp(float(torch.cat(logs).mean())) == pytest.approx(level, rel=0.06)


def test_steps_depend_neither_on_the_scale_of_hessians_nor_of_sensitivities():
    weights, hessians, sensitivity = problem()
    hessians["a"][3], hessians["a"][:, 3] = 0, 0
    one = made(weights, hessians, sensitivity)
    two = made(
        weights, {n: h * 2.0**20 for n, h in hessians.items()}, {n: a * 2.0**-30 for n, a in sensitivity.items()}
    )
    for name in weights:
        assert torch.equal(one.col_scales[name], two.col_scales[name])
        assert torch.allclose(
            one.compute_row_scales(name, 0.5).float(), two.compute_row_scales(name, 0.5).float(), rtol=2**-9
        )


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.sampled_from([0.3, 0.6, 1.0]))
def test_the_column_grid_errs_less_than_the_row_grid_at_equal_entropy(seed, level):
    w, h = drawn(64, 48, seed), correlated(48, seed)
    found = made({"a": w}, {"a": h}, {"a": torch.ones(64)})
    ours = quantized(w, h, found.compute_row_scales("a", level), found.col_scales["a"])
    low, high = 1e-3, 10.0
    for _ in range(12):  # the row step of the same entropy, from below: its codes cost no less
        middle = math.sqrt(low * high)
        theirs = quantized(w, h, torch.full((64,), middle), torch.ones(48))
        low, high = (
            (middle, high)
            if report.empirical_entropy(theirs.codes) > report.empirical_entropy(ours.codes)
            else (low, middle)
        )
    theirs = quantized(w, h, torch.full((64,), low), torch.ones(48))
    assert report.output_error(w, ours, h) < report.output_error(w, theirs, h)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_rounding_keeps_few_bits_and_is_off_by_half_of_the_last(bits):
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double() * 100 + 1e-3
    y = round_mantissa(x, bits)
    assert ((y / x - 1).abs() <= 2.0 ** -(bits + 1)).all()
    assert len(torch.frexp(y)[0].unique()) <= 2**bits


def test_column_steps_leave_the_low_byte_of_fp16_empty():
    weights, hessians, sensitivity = problem()
    for steps in made(weights, hessians, sensitivity).col_scales.values():
        assert (steps.view(torch.int16) & 0xFF).eq(0).all()


def test_a_tensor_that_the_loss_seems_not_to_mind_still_gets_a_finite_step():
    weights, hessians, sensitivity = problem()
    sensitivity["b"] = torch.zeros(40)
    found = made(weights, hessians, sensitivity)
    least = sensitivity["a"].mean() * module.SENSITIVITY_FLOOR
    kept = made(weights, hessians, sensitivity | {"b": torch.full((40,), float(least))})
    assert torch.equal(found.compute_row_scales("b", 0.5), kept.compute_row_scales("b", 0.5))


def test_nothing_that_the_loss_minds_at_all_gives_plain_steps():
    weights, hessians, _ = problem()
    found = made(weights, hessians, {name: torch.zeros(len(w)) for name, w in weights.items()})
    assert all(found.compute_row_scales(name, 0.5).isfinite().all() for name in weights)


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 32), (24, 1), (1, 1), (24, 32)])
def test_constant_and_zero_tensors_of_any_shape_come_back_within_half_a_step(value, shape):
    w, h = torch.full(shape, value), torch.eye(shape[1])
    found = made({"a": w}, {"a": h}, {"a": torch.ones(shape[0])})
    pair = quantized(w, h, found.compute_row_scales("a", 0.5), found.col_scales["a"])
    steps = pair.row_scales.float()[:, None] * pair.col_scales.float()
    assert ((quantized_tensor.dequantize(pair) - w).abs() <= steps / 2 * 1.001).all()


@pytest.mark.parametrize(("level", "words"), [(1e-9, "takes for 0; raise it"), (1e9, "beyond fp16; lower it")])
def test_a_level_whose_steps_fp16_cannot_hold_is_refused_by_name(level, words):
    found = made(*problem())
    with pytest.raises(DivergenceError, match=rf"a: quantize\.base_step = .* {words}"):
        found.compute_row_scales("a", level)
