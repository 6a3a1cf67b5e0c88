"""golf.quantization.row_scales: SDClip and rounding to nearest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.quantization import row_scales


def test_a_scale_is_clip_times_the_rows_spread_over_the_largest_code():
    w = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = 12.85 * w.std(dim=1) / 31
    scales = row_scales.compute_sdclip_scales(w.float(), 12.85, 6)
    assert scales.dtype == torch.float16
    assert torch.allclose(scales.double(), expected, rtol=2**-11)


@pytest.mark.parametrize(("value", "columns"), [(0.0, 8), (0.7, 8), (-3.0, 1), (1e-12, 8)])
def test_a_constant_row_divides_by_no_zero_and_keeps_its_value(value, columns):
    w = torch.full((1, columns), value)
    scales = row_scales.compute_sdclip_scales(w, 12.85, 6)
    assert scales.item() > 0
    back = quantized_tensor.dequantize(QuantizedTensor(row_scales.round_to_nearest(w, scales, 6), scales))
    assert torch.allclose(back, w, rtol=1e-3, atol=1e-6)


@given(st.integers(0, 2**32), st.sampled_from([(6, 12.85), (8, 20.0), (2, 1.5)]), st.floats(1e-3, 1e3))
def test_rounding_is_off_by_half_a_step_at_most_where_nothing_is_clipped(seed, bits_clip, scale):
    bits, clip = bits_clip
    w = scale * torch.randn(3, 32, generator=torch.Generator().manual_seed(seed))
    scales = row_scales.compute_sdclip_scales(w, clip, bits)
    quantized = QuantizedTensor(row_scales.round_to_nearest(w, scales, bits), scales)
    inside = quantized.codes.abs() < row_scales.compute_max_code(bits)
    off = (quantized_tensor.dequantize(quantized) - w).abs() / scales.float()[:, None]
    assert off[inside].max() <= 0.5 + 1e-4
    assert quantized.codes.abs().max() <= row_scales.compute_max_code(bits)
