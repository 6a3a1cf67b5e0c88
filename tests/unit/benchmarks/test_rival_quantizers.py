"""benchmarks/rival_quantizers.py: each rival computes with the weights that its bytes stand for"""

import math
import sys

import pytest
import torch
from scipy import stats

from golf.quantization import gptq
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import rival_quantizers

WEIGHTS = {"a": torch.randn(24, 64, generator=torch.Generator().manual_seed(0))}


def make_factor():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(500, 64, generator=rng) @ torch.randn(64, 64, generator=rng)
    return gptq.factorize((x.T @ x)[None], 0.01)


def test_nf4_has_the_quantiles_of_a_normal_distribution_at_which_both_halves_meet():
    levels = rival_quantizers.NF4_LEVELS
    assert (len(levels), levels[0], levels[7], levels[-1]) == (16, -1.0, 0.0, 1.0)
    quantiles = stats.norm.ppf([0.9677083 - i * (0.9677083 - 0.5) / 8 for i in range(8)])
    assert list(levels[:7:-1]) == pytest.approx((quantiles / quantiles[0]).tolist(), abs=1e-3)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_of_groups_moves_errors_so_that_the_output_changes_less_than_by_rounding(bits):
    factor, w = make_factor(), WEIGHTS["a"]
    quantized = rival_quantizers.quantize_gptq(WEIGHTS, {"a": factor}, bits, 16)
    scales = quantized.stored["a.group_scales"].float().repeat_interleave(16, 1)
    codes = quantized.stored["a.codes"].float()
    assert torch.equal(quantized.weights["a"], codes * scales)
    rounded = (w / scales).round().clamp(codes.min(), codes.max()) * scales
    root = gptq_hessian_root(factor)
    assert ((codes * scales - w) @ root).square().sum() < 0.8 * ((rounded - w) @ root).square().sum()


def gptq_hessian_root(factor) -> torch.Tensor:
    """T with H = T Tᵀ, rows in the order of the weights' columns."""
    root = factor.coupling[0] * factor.diag[0].gather(0, factor.order[0])[None, :]
    return root[factor.order[0].argsort()]


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_round_to_nearest_is_within_half_a_step(bits):
    quantized = rival_quantizers.quantize_int_zstd(WEIGHTS, bits)
    scales = quantized.stored["a.row_scales"].float()[:, None]
    assert ((quantized.weights["a"] - WEIGHTS["a"]).abs() <= scales * 0.501 + 1e-3 * scales * 2**bits).all()
    assert quantized.own_bytes < math.ceil(24 * 64 * 8 / 8) + 24 * 2 + 64


def test_nf4_takes_the_nearest_level_of_each_block():
    quantized = rival_quantizers.quantize_nf4(WEIGHTS, 32)
    levels = torch.tensor(rival_quantizers.NF4_LEVELS)
    scales = quantized.stored["a.group_scales"].float().repeat_interleave(32, 1)
    distance = ((WEIGHTS["a"] / scales)[..., None] - levels).abs()
    chosen = (WEIGHTS["a"] - quantized.weights["a"]).abs() / scales
    torch.testing.assert_close(chosen, distance.amin(-1), atol=1e-5, rtol=0)


def test_k_formats_of_matrices_that_fill_no_whole_blocks_are_refused_by_name():
    with pytest.raises(ValueError, match=r"b: has 300 weights, K formats need a multiple of 256"):
        rival_quantizers.quantize_ggml_k({"b": torch.ones(3, 100)}, "Q4_K", ROOT / "libggml.so")
