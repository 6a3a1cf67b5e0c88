"""golf.quantization.solver: the row_column grid over a whole model, batch by batch."""

import math
from types import SimpleNamespace

import pytest
import torch

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import codes_io, report, solver
from golf.quantization.gptq import factorize, gptq
from tests.helpers.quantization_inputs import draw_layers, draw_weights, make_quantize_config

QUANTIZE_CONFIG = make_quantize_config(base_step=0.4)
PROJ = "blocks.0.mlp.proj.weight"


def random_problem():
    weights, hessians, inputs = draw_layers()
    rng = torch.Generator().manual_seed(4)
    sensitivity = {name: torch.rand(len(weights[name]), generator=rng) + 0.1 for name in inputs}
    return weights, hessians, inputs, sensitivity


def quantize(weights, hessians, inputs, sensitivity, **changes):
    return solver.quantize_model(
        weights, hessians, inputs, SimpleNamespace(**vars(QUANTIZE_CONFIG) | changes), sensitivity
    )


@pytest.mark.parametrize("max_elements", [1, 1 << 24])
def test_column_scales_solve_each_tensor_as_it_would_be_alone(max_elements, monkeypatch):
    monkeypatch.setattr(solver, "MAX_BATCH_ELEMENTS", max_elements)
    weights, hessians, inputs, sensitivity = random_problem()
    quantized = quantize(weights, hessians, inputs, sensitivity)
    assert quantized.keys() == inputs.keys()
    for name, qtensor in quantized.items():
        factor = factorize(hessians[inputs[name]][None], 0.01)
        alone = gptq(weights[name][None], factor, qtensor.row_scales[None], qtensor.col_scales[None], block_size=128)[0]
        assert torch.equal(qtensor.codes.float(), alone), name
        assert torch.allclose(quantized_tensor.dequantize(qtensor), weights[name], atol=3)


def test_tensors_that_read_one_input_share_its_column_scales():
    quantized = quantize(*random_problem())
    q, k = (quantized[f"blocks.0.attn.{leaf}.weight"] for leaf in ("c_q", "c_k"))
    assert torch.equal(q.col_scales, k.col_scales)
    assert not torch.equal(q.row_scales[:8], k.row_scales[:8])


def test_codes_come_as_int8_where_that_holds_them_and_are_never_clipped():
    weights, hessians, inputs, sensitivity = random_problem()
    weights[PROJ][0, 0] = 500.0
    quantized = quantize(weights, hessians, inputs, sensitivity)
    assert quantized[PROJ].codes.dtype == torch.int16
    assert quantize(weights, hessians, inputs, sensitivity, base_step=2**-10)[PROJ].codes.dtype == torch.int32
    assert quantized["tok_emb.weight"].codes.dtype == torch.int8
    assert float(quantized_tensor.dequantize(quantized[PROJ])[0, 0]) == pytest.approx(500, abs=10)


def test_a_weight_beyond_every_row_scale_is_refused_by_name():
    weights, hessians, inputs, sensitivity = random_problem()
    weights[PROJ][0, 0] = 1e12
    with pytest.raises(
        DivergenceError, match=r"proj\.weight: holds weights of about .*, whose row scale is beyond fp16"
    ):
        quantize(weights, hessians, inputs, sensitivity)


def test_the_narrowest_integers_that_hold_all_codes_are_chosen():
    for value, dtype in [(127, torch.int8), (-128, torch.int16), (32767, torch.int16), (2**31 - 128, torch.int32)]:
        codes = solver.to_int_codes("w", torch.tensor([[float(value), 0.0]]))
        assert (codes.dtype, codes.tolist()) == (dtype, [[value, 0]])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    weights, hessians, inputs, sensitivity = random_problem()
    weights[PROJ][2, 3] = value
    with pytest.raises(DivergenceError, match=r"blocks\.0\.mlp\.proj\.weight: holds weights that are not finite"):
        quantize(weights, hessians, inputs, sensitivity)


def test_zero_and_constant_tensors_and_dead_columns_are_solved_like_any_other():
    weights, hessians, inputs, sensitivity = random_problem()
    weights[PROJ].zero_()
    weights["blocks.1.mlp.proj.weight"].fill_(0.3)
    hessians["blocks.1.mlp.proj"][5], hessians["blocks.1.mlp.proj"][:, 5] = 0, 0
    hessians["tok_emb"].zero_()
    quantized = quantize(weights, hessians, inputs, sensitivity)
    assert quantized[PROJ].codes.eq(0).all()
    assert quantized["blocks.1.mlp.proj.weight"].codes[:, 5].eq(0).all()
    assert quantized["tok_emb.weight"].codes.eq(0).all()
    assert all(quantized_tensor.dequantize(qtensor).isfinite().all() for qtensor in quantized.values())


def test_the_codes_file_gives_back_the_weights_of_both_grids():
    weights, hessians, inputs, sensitivity = random_problem()
    quantized = quantize(weights, hessians, inputs, sensitivity)
    quantized[PROJ] = quantized_tensor.QuantizedTensor(quantized[PROJ].codes, quantized[PROJ].row_scales)
    state = quantized_tensor.dequantize_state_dict(codes_io.to_storage(quantized, {"scale": torch.ones(3)}))
    assert state.keys() == {*inputs, "scale"}
    assert all(torch.equal(state[name], quantized_tensor.dequantize(qtensor)) for name, qtensor in quantized.items())


def test_the_row_column_grids_table_has_no_clipping_and_compares_with_its_own_rounding():
    weights, hessians, inputs, sensitivity = random_problem()
    quantized = quantize(weights, hessians, inputs, sensitivity)
    row = report.list_tensors(weights, quantized, hessians, inputs, QUANTIZE_CONFIG)[-1]
    qtensor, h = quantized[row["tensor"]], hessians[inputs[row["tensor"]]]
    steps = qtensor.row_scales.float()[:, None] * qtensor.col_scales.float()
    rounded = (weights[row["tensor"]] / steps).round() * steps - weights[row["tensor"]]
    expected = report.compute_output_error(weights[row["tensor"]], qtensor, h) / float(((rounded @ h) * rounded).sum())
    assert row["clipped_frac"] == 0
    assert row["error_vs_rtn"] == pytest.approx(expected, abs=1e-3)


def test_scales_cost_less_than_a_twentieth_of_a_bit_per_weight_at_the_records_width():
    w = draw_weights(512, 512)
    h = {"x": torch.eye(512) + 0.5}
    quantized = quantize(
        {"blocks.0.mlp.fc.weight": w}, h, {"blocks.0.mlp.fc.weight": "x"}, {"blocks.0.mlp.fc.weight": torch.rand(512)}
    )
    qtensor = quantized["blocks.0.mlp.fc.weight"]
    stored = sum(
        512 * report.compute_empirical_entropy(part.view(torch.int16))
        for part in (qtensor.col_scales, qtensor.row_scales)
    )
    assert stored / w.numel() < 0.05
