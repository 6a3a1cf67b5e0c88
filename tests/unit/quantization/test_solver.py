import math
from types import SimpleNamespace

import pytest
import torch

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import codes_io, report, solver
from golf.quantization.gptq import factorize, gptq
from tests.unit.quantization.test_gptq import drawn, model_weights

PLAN = SimpleNamespace(grid="row_column", base_step=0.4, damping_frac=0.01, block_size=128)
PROJ = "blocks.0.mlp.proj.weight"


def problem():
    weights, hessians, inputs = model_weights()
    dice = torch.Generator().manual_seed(4)
    sensitivity = {name: torch.rand(len(weights[name]), generator=dice) + 0.1 for name in inputs}
    return weights, hessians, inputs, sensitivity


def solved(weights, hessians, inputs, sensitivity, **changed):
    return solver.quantize_model(weights, hessians, inputs, SimpleNamespace(**vars(PLAN) | changed), sensitivity)


@pytest.mark.parametrize("together", [1, 1 << 24])
def test_column_steps_solve_each_tensor_as_it_would_be_alone(together, monkeypatch):
    monkeypatch.setattr(solver, "MAX_BATCH_ELEMENTS", together)
    weights, hessians, inputs, sensitivity = problem()
    found = solved(weights, hessians, inputs, sensitivity)
    assert found.keys() == inputs.keys()
    for name, pair in found.items():
        made = factorize(hessians[inputs[name]][None], 0.01)
        alone = gptq(weights[name][None], made, pair.row_scales[None], pair.col_scales[None], block_size=128)[0]
        assert torch.equal(pair.codes.float(), alone), name
        assert torch.allclose(quantized_tensor.dequantize(pair), weights[name], atol=3)


def test_tensors_that_read_one_input_share_its_column_steps():
    found = solved(*problem())
    q, k = (found[f"blocks.0.attn.{leaf}.weight"] for leaf in ("c_q", "c_k"))
    assert torch.equal(q.col_scales, k.col_scales)
    assert not torch.equal(q.row_scales[:8], k.row_scales[:8])


def test_codes_come_as_int8_where_that_holds_them_and_are_never_clipped():
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ][0, 0] = 500.0
    found = solved(weights, hessians, inputs, sensitivity)
    assert found[PROJ].codes.dtype == torch.int16
    assert found["tok_emb.weight"].codes.dtype == torch.int8
    assert float(quantized_tensor.dequantize(found[PROJ])[0, 0]) == pytest.approx(500, abs=10)


def test_a_code_beyond_int16_is_refused_by_name():
    weights, hessians, inputs, sensitivity = problem()
    with pytest.raises(DivergenceError, match=r"needs a code of .* the largest is 32,767; raise quantize\.base_step"):
        solved(weights, hessians, inputs, sensitivity, level=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ][2, 3] = value
    with pytest.raises(DivergenceError, match=r"blocks\.0\.mlp\.proj\.weight: holds weights that are not finite"):
        solved(weights, hessians, inputs, sensitivity)


def test_zero_and_constant_tensors_and_dead_columns_are_solved_like_any_other():
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ].zero_()
    weights["blocks.1.mlp.proj.weight"].fill_(0.3)
    hessians["blocks.1.mlp.proj"][5], hessians["blocks.1.mlp.proj"][:, 5] = 0, 0
    hessians["tok_emb"].zero_()
    found = solved(weights, hessians, inputs, sensitivity)
    assert found[PROJ].codes.eq(0).all()
    assert found["blocks.1.mlp.proj.weight"].codes[:, 5].eq(0).all()
    assert found["tok_emb.weight"].codes.eq(0).all()
    assert all(quantized_tensor.dequantize(pair).isfinite().all() for pair in found.values())


def test_the_codes_file_gives_back_the_weights_of_both_grids():
    weights, hessians, inputs, sensitivity = problem()
    found = solved(weights, hessians, inputs, sensitivity)
    found[PROJ] = quantized_tensor.QuantizedTensor(found[PROJ].codes, found[PROJ].row_scales)
    state = quantized_tensor.dequantize_state_dict(codes_io.to_storage(found, {"scale": torch.ones(3)}))
    assert state.keys() == {*inputs, "scale"}
    assert all(torch.equal(state[name], quantized_tensor.dequantize(pair)) for name, pair in found.items())


def test_the_table_of_a_column_grid_knows_no_clipping_and_compares_with_rounding_on_its_own_steps():
    weights, hessians, inputs, sensitivity = problem()
    found = solved(weights, hessians, inputs, sensitivity)
    row = report.tensor_table(weights, found, hessians, inputs, PLAN)[-1]
    pair, h = found[row["name"]], hessians[inputs[row["name"]]]
    steps = pair.row_scales.float()[:, None] * pair.col_scales.float()
    rounded = (weights[row["name"]] / steps).round() * steps - weights[row["name"]]
    expected = report.output_error(weights[row["name"]], pair, h) / float(((rounded @ h) * rounded).sum())
    assert row["clipped"] == 0
    assert row["error_ratio"] == pytest.approx(expected, abs=1e-3)


def test_steps_cost_less_than_a_twentieth_of_a_bit_a_weight_at_a_records_width():
    w = drawn(512, 512)
    h = {"x": torch.eye(512) + 0.5}
    found = solved(
        {"blocks.0.mlp.fc.weight": w}, h, {"blocks.0.mlp.fc.weight": "x"}, {"blocks.0.mlp.fc.weight": torch.rand(512)}
    )
    pair = found["blocks.0.mlp.fc.weight"]
    stored = sum(512 * report.empirical_entropy(part.view(torch.int16)) for part in (pair.col_scales, pair.row_scales))
    assert stored / w.numel() < 0.05
