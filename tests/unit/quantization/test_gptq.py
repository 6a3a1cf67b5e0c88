"""golf.quantization.gptq and solver: codes against a slow float64 reference, batches, and refused inputs."""

import math
from types import SimpleNamespace

import pytest
import torch

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import report, row_scales, solver
from golf.quantization.gptq import factorize, gptq
from golf.quantization.solver import quantize_model
from tests.helpers.quantization_inputs import draw_hessian, draw_layers, draw_weights

QUANTIZE_CONFIG = SimpleNamespace(
    grid="row", damping_frac=0.01, block_size=128, matrix_bits=6, matrix_clip=12.85, embed_bits=8, embed_clip=20.0
)


def solve(w, h, row_scales_O, col_scales_I=None, *, max_code=31, damping_frac=0.01, block_size=128):
    col_scales_I = torch.ones(w.shape[1]) if col_scales_I is None else col_scales_I
    factor = factorize(h[None], damping_frac)
    return gptq(w[None], factor, row_scales_O[None], col_scales_I[None], max_code=max_code, block_size=block_size)[0]


def optimal_brain_quantization(w, h, steps, columns, max_code: float, damping_frac: float) -> torch.Tensor:
    """Optimal brain quantization in GPTQ's order, in float64, inverting the Hessian from scratch after each column."""
    w, h = w.double().clone(), h.double().clone()
    steps = steps.double()[:, None] * columns.double()
    dead = h.diagonal() == 0
    order = h.diagonal().argsort(descending=True, stable=True)
    h += damping_frac * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    h[dead, dead] = 1
    w[:, dead] = 0
    codes, left = torch.zeros_like(w), order.tolist()
    while left:
        inverse = torch.linalg.inv(h[left][:, left])
        j = left[0]
        codes[:, j] = (w[:, j] / steps[:, j]).round().clamp(-max_code, max_code)
        error = (w[:, j] - codes[:, j] * steps[:, j]) / inverse[0, 0]
        w[:, left] -= error[:, None] * inverse[0]
        left.pop(0)
    return codes.float()


@pytest.mark.parametrize("columns", [1, 2, 15, 16, 17, 48])
def test_codes_equal_a_slow_float64_reference(columns):
    w, h = draw_weights(24, columns), draw_hessian(columns)
    steps = torch.full((24,), 0.3).half()
    assert torch.equal(solve(w, h, steps), optimal_brain_quantization(w, h, steps, torch.ones(len(h)), 31, 0.01))


def test_a_dead_column_gets_code_zero_and_moves_nothing_else():
    w, h = draw_weights(16, 20), draw_hessian(20)
    h[7], h[:, 7] = 0, 0
    steps = torch.full((16,), 0.3).half()
    codes = solve(w, h, steps)
    assert codes[:, 7].eq(0).all()
    assert torch.equal(codes, optimal_brain_quantization(w, h, steps, torch.ones(len(h)), 31, 0.01))
    others = [i for i in range(20) if i != 7]
    damping_frac = 0.01 * 19 / 20  # the same damping where the dead column does not dilute the mean
    assert torch.equal(codes[:, others], solve(w[:, others], h[others][:, others], steps, damping_frac=damping_frac))


@pytest.mark.parametrize("block", [1, 7, 16, 40, 100])
def test_codes_do_not_depend_on_the_block(block):
    w, h, steps = draw_weights(32, 100), draw_hessian(100), torch.full((32,), 0.3).half()
    assert (solve(w, h, steps, block_size=block) != solve(w, h, steps, block_size=128)).double().mean() < 1e-3


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_codes_do_not_depend_on_the_scale_of_the_hessian(scale):
    w, h, steps = draw_weights(32, 60), draw_hessian(60), torch.full((32,), 0.3).half()
    h[3], h[:, 3] = 0, 0
    assert torch.equal(solve(w, h * scale, steps), solve(w, h, steps))


def test_identity_hessian_gives_plain_rounding():
    w = draw_weights(16, 40)
    steps = row_scales.compute_sdclip_scales(w, 12.85, 6)
    assert torch.equal(solve(w, torch.eye(40), steps), row_scales.round_to_nearest(w, steps, 6))


def test_gptq_beats_rounding_when_inputs_are_correlated():
    w, h = draw_weights(32, 64), draw_hessian(64)
    steps = row_scales.compute_sdclip_scales(w, 12.85, 6)
    row = report.make_tensor_row(
        "blocks.0.mlp.fc.weight", w, quantized_tensor.QuantizedTensor(solve(w, h, steps), steps), h, 6
    )
    assert row["error_vs_rtn"] < 0.6


def test_codes_stay_in_range_when_weights_do_not():
    w, h = 50 * draw_weights(8, 30), draw_hessian(30)
    codes = solve(w, h, torch.ones(8).half(), max_code=3)
    assert codes.max() == 3
    assert codes.min() == -3


@pytest.mark.parametrize("max_elements", [1, 1 << 24])
def test_solving_many_together_gives_each_matrix_its_own_codes(max_elements, monkeypatch):
    monkeypatch.setattr(solver, "MAX_BATCH_ELEMENTS", max_elements)
    weights, hessians, inputs = draw_layers()
    quantized = quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})
    assert list(quantized) == list(inputs)
    for name, qtensor in quantized.items():
        bits, clip = (8, 20.0) if name == "tok_emb.weight" else (6, 12.85)
        steps = row_scales.compute_sdclip_scales(weights[name], clip, bits)
        alone = solve(weights[name], hessians[inputs[name]], steps, max_code=row_scales.compute_max_code(bits))
        assert torch.equal(qtensor.row_scales, steps)
        assert torch.equal(qtensor.codes, alone), name


@pytest.mark.parametrize("max_elements", [1, 1 << 24])
def test_a_failed_cholesky_names_the_tensor_and_the_damping(max_elements, monkeypatch):
    monkeypatch.setattr(solver, "MAX_BATCH_ELEMENTS", max_elements)
    weights, hessians, inputs = draw_layers()
    hessians["blocks.1.mlp.proj"] = -torch.eye(32)
    with pytest.raises(DivergenceError, match=r"blocks\.1\.mlp\.proj\.weight.*quantize\.damping_frac = 0\.01"):
        quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})


def test_a_hessian_that_is_not_a_number_is_refused_too():
    weights, hessians, inputs = draw_layers()
    hessians["blocks.0.attn"][3, 3] = math.nan
    with pytest.raises(DivergenceError, match=r"blocks\.0\.attn\.c_q\.weight"):
        quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})


@pytest.mark.parametrize(("value", "message"), [(math.nan, "not finite"), (1e9, "beyond fp16")])
def test_weights_that_no_step_can_hold_are_refused_by_name(value, message):
    weights, hessians, inputs = draw_layers()
    weights["blocks.0.mlp.proj.weight"][2, 3] = value
    with pytest.raises(DivergenceError, match=rf"blocks\.0\.mlp\.proj\.weight.*{message}"):
        quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})


def test_constant_and_zero_rows_are_solved_like_any_other():
    weights, hessians, inputs = draw_layers()
    weights["blocks.0.mlp.proj.weight"][:2] = torch.tensor([[0.0], [0.3]])
    qtensor = quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})["blocks.0.mlp.proj.weight"]
    back = quantized_tensor.dequantize(qtensor)
    assert back[0].eq(0).all()
    assert torch.allclose(back[1], torch.full((32,), 0.3), rtol=1e-3)
    assert back.isfinite().all()


@pytest.mark.parametrize("columns", [1, 17, 48])
def test_a_step_for_each_row_and_column_gives_the_codes_of_the_slow_reference(columns):
    w, h = draw_weights(24, columns), draw_hessian(columns)
    rows, steps = 0.2 + torch.rand(24, generator=torch.Generator().manual_seed(5)), factorize(h[None], 0.01).diag[0]
    steps = 0.5 * steps.mean() / steps
    assert torch.equal(
        solve(w, h, rows, steps, max_code=math.inf), optimal_brain_quantization(w, h, rows, steps, math.inf, 0.01)
    )


def test_a_factor_gives_back_its_damped_hessian():
    h = draw_hessian(20)
    factor = factorize(h[None], 0.01)
    order = factor.order[0]
    upper = (factor.coupling[0].triu(1) + torch.eye(20)) * factor.diag[0][order]
    damped = h + 0.01 * h.diagonal().mean() * torch.eye(20)
    assert torch.allclose(upper @ upper.T, damped[order][:, order], rtol=1e-4, atol=1e-3 * float(h.max()))


def test_a_hessian_of_fewer_tokens_than_columns_is_solved_thanks_to_damping():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    codes = solve(draw_weights(8, 40), x.T @ x, torch.full((8,), 0.3))
    assert codes.isfinite().all()
