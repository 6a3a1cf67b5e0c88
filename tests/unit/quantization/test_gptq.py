import math
from types import SimpleNamespace

import pytest
import torch

from golf.compression import quantized_tensor
from golf.errors import DivergenceError
from golf.quantization import report, row_scales
from golf.quantization import solver as module
from golf.quantization.gptq import factorize, gptq
from golf.quantization.solver import quantize_model

PLAN = SimpleNamespace(
    grid="row", damping_frac=0.01, block_size=128, matrix_bits=6, matrix_clip=12.85, embed_bits=8, embed_clip=20.0
)


def correlated(columns: int, seed: int = 0, tokens: int = 4) -> torch.Tensor:
    """H of ``tokens`` x columns inputs that go together and differ in scale."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(columns) + torch.randn(columns, columns, generator=generator) / math.sqrt(columns)
    x = torch.randn(tokens * columns, columns, generator=generator) @ mix
    x = x * torch.randn(columns, generator=generator).exp()
    return x.T @ x


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(100 + seed))


def one(w, h, steps, columns=None, *, largest=31, damp=0.01, block=128):
    columns = torch.ones(w.shape[1]) if columns is None else columns
    return gptq(w[None], factorize(h[None], damp), steps[None], columns[None], max_code=largest, block_size=block)[0]


def obq(w, h, steps, columns, largest: float, damp: float) -> torch.Tensor:
    """Optimal brain quantisation in GPTQ's order, float64: after each column, the inverse of what is left, afresh."""
    w, h = w.double().clone(), h.double().clone()
    steps = steps.double()[:, None] * columns.double()
    dead = h.diagonal() == 0
    order = h.diagonal().argsort(descending=True, stable=True)
    h += damp * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    h[dead, dead] = 1
    w[:, dead] = 0
    codes, left = torch.zeros_like(w), order.tolist()
    while left:
        inverse = torch.linalg.inv(h[left][:, left])
        j = left[0]
        codes[:, j] = (w[:, j] / steps[:, j]).round().clamp(-largest, largest)
        lost = (w[:, j] - codes[:, j] * steps[:, j]) / inverse[0, 0]
        w[:, left] -= lost[:, None] * inverse[0]
        left.pop(0)
    return codes.float()


@pytest.mark.parametrize("columns", [1, 2, 15, 16, 17, 48])
def test_codes_equal_a_slow_float64_reference(columns):
    w, h = drawn(24, columns), correlated(columns)
    steps = torch.full((24,), 0.3).half()
    assert torch.equal(one(w, h, steps), obq(w, h, steps, torch.ones(len(h)), 31, 0.01))


def test_a_dead_column_gets_code_zero_and_moves_nothing_else():
    w, h = drawn(16, 20), correlated(20)
    h[7], h[:, 7] = 0, 0
    steps = torch.full((16,), 0.3).half()
    codes = one(w, h, steps)
    assert codes[:, 7].eq(0).all()
    assert torch.equal(codes, obq(w, h, steps, torch.ones(len(h)), 31, 0.01))
    others = [i for i in range(20) if i != 7]
    damp = 0.01 * 19 / 20  # the same damping where the dead column does not dilute the mean
    assert torch.equal(codes[:, others], one(w[:, others], h[others][:, others], steps, damp=damp))


@pytest.mark.parametrize("block", [1, 7, 16, 40, 100])
def test_codes_do_not_depend_on_the_block(block):
    w, h, steps = drawn(32, 100), correlated(100), torch.full((32,), 0.3).half()
    assert (one(w, h, steps, block=block) != one(w, h, steps, block=128)).double().mean() < 1e-3


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_codes_do_not_depend_on_the_scale_of_the_hessian(scale):
    w, h, steps = drawn(32, 60), correlated(60), torch.full((32,), 0.3).half()
    h[3], h[:, 3] = 0, 0
    assert torch.equal(one(w, h * scale, steps), one(w, h, steps))


def test_identity_hessian_gives_plain_rounding():
    w = drawn(16, 40)
    steps = row_scales.sdclip_scales(w, 12.85, 6)
    assert torch.equal(one(w, torch.eye(40), steps), row_scales.round_to_nearest(w, steps, 6))


def test_gptq_beats_rounding_when_inputs_are_correlated():
    w, h = drawn(32, 64), correlated(64)
    steps = row_scales.sdclip_scales(w, 12.85, 6)
    row = report.tensor_row(
        "blocks.0.mlp.fc.weight", w, quantized_tensor.QuantizedTensor(one(w, h, steps), steps), h, 6
    )
    assert row["error_ratio"] < 0.6


def test_codes_stay_in_range_when_weights_do_not():
    w, h = 50 * drawn(8, 30), correlated(30)
    codes = one(w, h, torch.ones(8).half(), largest=3)
    assert codes.max() == 3
    assert codes.min() == -3


def model_weights():
    """Two layers whose q, k, v share an input, an MLP of another width, and an embedding."""
    weights, inputs = {"tok_emb.weight": drawn(40, 16)}, {"tok_emb.weight": "tok_emb"}
    for i in range(2):
        for number, (leaf, rows) in enumerate({"c_q": 16, "c_k": 8, "c_v": 8}.items()):
            weights[f"blocks.{i}.attn.{leaf}.weight"] = drawn(rows, 16, 10 * i + number)
            inputs[f"blocks.{i}.attn.{leaf}.weight"] = f"blocks.{i}.attn"
        weights[f"blocks.{i}.mlp.proj.weight"] = drawn(16, 32, 10 * i + 5)
        inputs[f"blocks.{i}.mlp.proj.weight"] = f"blocks.{i}.mlp.proj"
    hessians = {
        source: correlated(weights[name].shape[1], seed) for seed, (name, source) in enumerate(inputs.items(), start=1)
    }
    return weights, hessians, inputs


@pytest.mark.parametrize("together", [1, 1 << 24])
def test_solving_many_together_gives_each_matrix_its_own_codes(together, monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH_ELEMENTS", together)
    weights, hessians, inputs = model_weights()
    quantized = quantize_model(weights, hessians, inputs, PLAN)
    assert list(quantized) == list(inputs)
    for name, pair in quantized.items():
        bits, clip = (8, 20.0) if name == "tok_emb.weight" else (6, 12.85)
        steps = row_scales.sdclip_scales(weights[name], clip, bits)
        alone = one(weights[name], hessians[inputs[name]], steps, largest=row_scales.max_code(bits))
        assert torch.equal(pair.row_scales, steps)
        assert torch.equal(pair.codes, alone), name


@pytest.mark.parametrize("together", [1, 1 << 24])
def test_a_failed_cholesky_names_the_tensor_and_the_damping(together, monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH_ELEMENTS", together)
    weights, hessians, inputs = model_weights()
    hessians["blocks.1.mlp.proj"] = -torch.eye(32)
    with pytest.raises(DivergenceError, match=r"blocks\.1\.mlp\.proj\.weight.*quantize\.damping_frac = 0\.01"):
        quantize_model(weights, hessians, inputs, PLAN)


def test_a_hessian_that_is_not_a_number_is_refused_too():
    weights, hessians, inputs = model_weights()
    hessians["blocks.0.attn"][3, 3] = math.nan
    with pytest.raises(DivergenceError, match=r"blocks\.0\.attn\.c_q\.weight"):
        quantize_model(weights, hessians, inputs, PLAN)


@pytest.mark.parametrize(("value", "words"), [(math.nan, "not finite"), (1e9, "beyond fp16")])
def test_weights_that_no_step_can_hold_are_refused_by_name(value, words):
    weights, hessians, inputs = model_weights()
    weights["blocks.0.mlp.proj.weight"][2, 3] = value
    with pytest.raises(DivergenceError, match=rf"blocks\.0\.mlp\.proj\.weight.*{words}"):
        quantize_model(weights, hessians, inputs, PLAN)


def test_constant_and_zero_rows_are_solved_like_any_other():
    weights, hessians, inputs = model_weights()
    weights["blocks.0.mlp.proj.weight"][:2] = torch.tensor([[0.0], [0.3]])
    pair = quantize_model(weights, hessians, inputs, PLAN)["blocks.0.mlp.proj.weight"]
    back = quantized_tensor.dequantize(pair)
    assert back[0].eq(0).all()
    assert torch.allclose(back[1], torch.full((32,), 0.3), rtol=1e-3)
    assert back.isfinite().all()


@pytest.mark.parametrize("columns", [1, 17, 48])
def test_a_step_for_each_row_and_column_gives_the_codes_of_the_slow_reference(columns):
    w, h = drawn(24, columns), correlated(columns)
    rows, steps = 0.2 + torch.rand(24, generator=torch.Generator().manual_seed(5)), factorize(h[None], 0.01).diag[0]
    steps = 0.5 * steps.mean() / steps
    assert torch.equal(one(w, h, rows, steps, largest=math.inf), obq(w, h, rows, steps, math.inf, 0.01))


def test_a_factor_gives_back_its_damped_hessian():
    h = correlated(20)
    found = factorize(h[None], 0.01)
    order = found.order[0]
    upper = (found.coupling[0].triu(1) + torch.eye(20)) * found.diag[0][order]
    damped = h + 0.01 * h.diagonal().mean() * torch.eye(20)
    assert torch.allclose(upper @ upper.T, damped[order][:, order], rtol=1e-4, atol=1e-3 * float(h.max()))


def test_a_hessian_of_fewer_tokens_than_columns_is_solved_thanks_to_damping():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    codes = one(drawn(8, 40), x.T @ x, torch.full((8,), 0.3))
    assert codes.isfinite().all()
