import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.quant import grid
from golf.quant.grid import Quantized


def test_a_step_is_clip_times_the_rows_spread_over_the_largest_code():
    w = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = 12.85 * w.std(dim=1) / 31
    steps = grid.sdclip(w.float(), 12.85, 6)
    assert steps.dtype == torch.float16
    assert torch.allclose(steps.double(), expected, rtol=2**-11)


@pytest.mark.parametrize(("value", "columns"), [(0.0, 8), (0.7, 8), (-3.0, 1), (1e-12, 8)])
def test_a_constant_row_divides_by_no_zero_and_keeps_its_value(value, columns):
    w = torch.full((1, columns), value)
    steps = grid.sdclip(w, 12.85, 6)
    assert steps.item() > 0
    back = grid.dequantize(Quantized(grid.nearest(w, steps, 6), steps))
    assert torch.allclose(back, w, rtol=1e-3, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([(6, 12.85), (8, 20.0), (2, 1.5)]), st.floats(1e-3, 1e3))
def test_rounding_is_off_by_half_a_step_at_most_where_nothing_is_clipped(seed, bits_clip, scale):
    bits, clip = bits_clip
    w = scale * torch.randn(3, 32, generator=torch.Generator().manual_seed(seed))
    steps = grid.sdclip(w, clip, bits)
    quantized = Quantized(grid.nearest(w, steps, bits), steps)
    inside = quantized.codes.abs() < grid.largest(bits)
    off = (grid.dequantize(quantized) - w).abs() / steps.float()[:, None]
    assert off[inside].max() <= 0.5 + 1e-4
    assert quantized.codes.abs().max() <= grid.largest(bits)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("tok_emb.weight", (4, 4), "embed"),
        ("blocks.3.attn.c_q.weight", (10, 10), "small"),
        ("blocks.3.attn.c_q.weight", (10, 11), "matrix"),
        ("blocks.3.resid_mix", (2, 1000), "small"),
        ("blocks.3.attn_scale", (1000,), "small"),
        ("skip_weights", (8, 1000), "small"),
    ],
)
def test_matrices_of_more_than_min_weights_and_the_embedding_are_quantised(name, shape, expected):
    assert grid.kind(name, shape, 100) == expected


def test_stored_tensors_give_back_a_whole_state_dict_in_fp32():
    pair = Quantized(torch.tensor([[1, -2]], dtype=torch.int8), torch.tensor([0.5], dtype=torch.float16))
    stored = {"a.codes": pair.codes, "a.steps": pair.steps, "b": torch.tensor([0.25], dtype=torch.float16)}
    state = grid.weights(stored)
    assert state["a"].tolist() == [[0.5, -1.0]]
    assert state["b"].tolist() == [0.25]
    assert {t.dtype for t in state.values()} == {torch.float32}
