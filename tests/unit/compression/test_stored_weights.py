"""golf/compression/stored_weights.py, rotation.py and low_rank.py against slow references in float64"""

import math

import numpy as np
import pytest
import torch

from golf.compression import low_rank, stored_weights, stored_weights_writer
from golf.compression.quantized_tensor import QuantizedTensor, dequantize
from golf.compression.rotation import make_rotation, rotate_back
from golf.compression.stored_weights import LOW_RANK_PREFIX, ROTATION_SEED
from golf.quantization import codes_io, solver
from golf.quantization.trellis import Coding
from tests.helpers.quantization_inputs import draw_hessian, draw_layers, draw_weights, make_quantize_config

PROJ = "blocks.0.mlp.proj.weight"
GRIDS = {
    "row": {"grid": "row", "matrix_bits": 6, "matrix_clip": 6.0, "embed_bits": 8, "embed_clip": 6.0},
    "row_column": {"base_step": 0.3},
    "trellis": {"base_step": 0.3, "coding": "trellis", "rate_weight": 0.05},
}


@pytest.mark.parametrize("n", [2, 12, 16, 33, 192])
def test_the_rotation_is_the_q_of_a_hadamard_matrix_with_random_signs(n):
    turn = make_rotation(7, n)
    torch.testing.assert_close(turn @ turn.T, torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    sylvester = torch.tensor([[(-1.0) ** (i & j).bit_count() for j in range(n)] for i in range(n)], dtype=torch.float64)
    upper = turn.T @ torch.diag(_signs(turn, sylvester)) @ sylvester
    torch.testing.assert_close(upper, upper.triu(), atol=1e-9, rtol=0)
    assert not torch.equal(turn, make_rotation(8, n))


def _signs(turn: torch.Tensor, sylvester: torch.Tensor) -> torch.Tensor:
    """D up to a common sign: the first column of Q is that of D H."""
    signs = turn[:, 0] * math.sqrt(len(turn))
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs), atol=1e-12, rtol=0)
    assert sylvester[:, 0].eq(1).all()
    return signs


def test_rotated_and_turned_back_weights_and_output_errors_are_the_same_to_rounding():
    weights, hessians, inputs = draw_layers()
    rotated, rotated_hessians, stored = stored_weights_writer.rotate_inputs(weights, hessians, inputs, 3)
    assert stored[ROTATION_SEED].tolist() == [3.0]
    assert torch.equal(rotated["tok_emb.weight"], weights["tok_emb.weight"])
    for name in inputs.keys() - {"tok_emb.weight"}:
        assert (rotated[name] - weights[name]).abs().max() > 0.1
        torch.testing.assert_close(rotate_back(rotated[name], 3), weights[name], atol=1e-6, rtol=0)
        error, h = draw_weights(*weights[name].shape, seed=9).double(), hessians[inputs[name]].double()
        turned = error @ make_rotation(3, error.shape[1])
        actual = ((turned @ rotated_hessians[inputs[name]].double()) * turned).sum()
        assert float(actual) == pytest.approx(float(((error @ h) * error).sum()), rel=1e-5)


def test_without_a_seed_nothing_turns_and_nothing_is_stored():
    weights, hessians, inputs = draw_layers()
    same, same_hessians, stored = stored_weights_writer.rotate_inputs(weights, hessians, inputs, None)
    assert stored == {}
    assert all(torch.equal(same[name], weights[name]) for name in weights)
    assert all(torch.equal(same_hessians[name], hessians[name]) for name in hessians)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_stored_model_is_turned_back_and_repaired_on_every_grid(grid):
    weights, hessians, inputs = draw_layers()
    cfg = make_quantize_config(**GRIDS[grid])
    rotated, rotated_hessians, rotation = stored_weights_writer.rotate_inputs(weights, hessians, inputs, 3)
    sensitivity = {name: torch.ones(len(tensor)) for name, tensor in weights.items()}
    quantized = solver.quantize_model(rotated, rotated_hessians, inputs, cfg, sensitivity)
    assert (Coding.from_config(cfg).trellis_states == 8) == (grid == "trellis")
    repairs = stored_weights_writer.fit_repairs(rotated, quantized, 2, 2)
    stored = codes_io.to_storage(quantized, {"skip_weights": torch.ones(2, 3)} | rotation) | repairs
    state = stored_weights.to_state_dict(stored)
    assert state.keys() == {*weights, "skip_weights"}
    for name in weights:
        expected = dequantize(quantized[name]).double()
        if LOW_RANK_PREFIX + name in repairs:
            expected += low_rank.expand(repairs[LOW_RANK_PREFIX + name].float(), expected.shape).double()
        if name != "tok_emb.weight":
            expected = expected @ make_rotation(3, expected.shape[1]).T
        torch.testing.assert_close(state[name].double(), expected, atol=1e-6, rtol=0)
        relative = (state[name] - weights[name]).square().mean() / weights[name].square().mean()
        assert relative < 0.1, name


def reference_repair(error: torch.Tensor, rank: int) -> np.ndarray:
    """A B by docs/references.md#lqer: A = U S in two bits, B = Vᵀ in four with a step for 64 columns."""
    u, s, v = (part.numpy() for part in torch.linalg.svd(error.double(), full_matrices=False))
    left, right = u[:, :rank] * s[:rank], v[:rank].copy()
    left_step = np.abs(left).max() / 1.5
    levels = np.clip(np.round(left / left_step), -2, 1)
    for r in range(rank):
        for begin in range(0, right.shape[1], 64):
            group = right[r, begin : begin + 64]
            step = np.abs(group).max() / 7.5
            right[r, begin : begin + 64] = np.clip(np.round(group / step), -8, 7) * float(np.float16(step * left_step))
    return levels @ right


@pytest.mark.parametrize(("rows", "columns", "rank"), [(20, 70, 4), (9, 128, 1), (5, 64, 3)])
def test_a_repair_has_the_published_levels_and_takes_off_error_of_low_rank(rows, columns, rank):
    generator = torch.Generator().manual_seed(1)
    error = torch.randn(rows, 1, generator=generator).sign() @ torch.randn(1, columns, generator=generator)
    error += 0.1 * torch.randn(rows, columns, generator=generator)
    stored = stored_weights_writer.factorize(error, rank)
    assert stored.shape == low_rank.stored_shape(error.shape, len(stored))
    assert len(stored) == rank * (rows + columns + -(-columns // 64))
    actual = low_rank.expand(stored.float(), error.shape)
    np.testing.assert_allclose(actual.numpy(), reference_repair(error, rank), atol=1e-5)
    assert (error - actual).square().sum() < 0.7 * error.square().sum()


def test_repairs_are_of_the_tensors_of_the_largest_error():
    weights = {f"blocks.{i}.mlp.fc.weight": draw_weights(8, 64, i) for i in range(3)}
    quantized = {
        name: QuantizedTensor((tensor / step).round().to(torch.int8), torch.full((8,), step).half())
        for (name, tensor), step in zip(weights.items(), (0.5, 2.0, 1.0), strict=True)
    }
    names = stored_weights_writer.fit_repairs(weights, quantized, 1, 2)
    assert list(names) == ["extra.low_rank.blocks.1.mlp.fc.weight", "extra.low_rank.blocks.2.mlp.fc.weight"]
    assert stored_weights_writer.fit_repairs(weights, quantized, None, 2) == {}


def test_an_error_of_zero_has_a_repair_of_zero():
    assert stored_weights_writer.factorize(torch.zeros(4, 70), 2).eq(0).sum() >= 2 * 4
    assert low_rank.expand(stored_weights_writer.factorize(torch.zeros(4, 70), 2).float(), (4, 70)).eq(0).all()


def test_hessians_of_shared_inputs_turn_once():
    weights = {f"blocks.0.attn.{leaf}.weight": draw_weights(4, 16, i) for i, leaf in enumerate(("c_q", "c_k"))}
    h = draw_hessian(16)
    _, turned, _ = stored_weights_writer.rotate_inputs(weights, {"x": h}, dict.fromkeys(weights, "x"), 1)
    turn = make_rotation(1, 16)
    torch.testing.assert_close(turned["x"].double(), turn.T @ h.double() @ turn, rtol=1e-5, atol=1e-4)
