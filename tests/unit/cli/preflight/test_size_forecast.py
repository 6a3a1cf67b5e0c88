"""golf/cli/preflight/size_forecast.py: the forecast of the file against files that are really packed"""

import dataclasses
import math

import pytest
import torch

from golf.cli.preflight import size_forecast, step_work
from golf.compression import writer
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config import loader
from golf.model.gpt import GPT
from golf.quantization import codes_io, param_kinds, report, row_scales
from tests.helpers.tiny_corpus import ROOT

MODEL_CHANGES = {"vocab_size": 1024, "d_model": 128, "d_ff": 512, "n_heads": 4, "n_kv_heads": 2}


@pytest.mark.parametrize("step", [0.02, 0.1, 0.4145, 1.0, 2.0])
def test_the_entropy_of_rounded_normal_numbers_is_that_of_a_sample(step):
    sample = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    empirical = report.compute_empirical_entropy((sample / step).round().int())
    assert size_forecast.estimate_gaussian_code_bits(step) == pytest.approx(empirical, abs=0.005)


def test_the_entropy_of_fine_steps_joins_that_of_coarse_ones():
    assert size_forecast.estimate_gaussian_code_bits(0.0499) - size_forecast.estimate_gaussian_code_bits(
        0.0501
    ) == pytest.approx(math.log2(0.0501 / 0.0499), abs=1e-3)


@pytest.mark.parametrize("codec", ["brotli", "ans"])
def test_the_packed_bytes_of_a_small_model_are_within_25_percent_of_the_forecast(tiny_model_config, codec):
    cfg = loader.load_config(ROOT / "profiles/record.yaml")
    model_cfg = dataclasses.replace(tiny_model_config, **MODEL_CHANGES)
    quantize = dataclasses.replace(cfg.quantize, min_weights=4096)
    compress = dataclasses.replace(cfg.compress, codec=codec)
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in GPT(model_cfg).named_parameters()}
    quantized, small = {}, {}
    for name, weights in state.items():
        kind = param_kinds.get_param_kind(name, weights.shape, quantize.min_weights)
        if kind == "small":
            small[name] = weights
            continue
        bits = row_scales.get_code_bits(name, quantize)
        clip = quantize.embed_clip if kind == "embed" else quantize.matrix_clip
        scales = row_scales.compute_sdclip_scales(weights, clip, bits)
        quantized[name] = QuantizedTensor(row_scales.round_to_nearest(weights, scales, bits), scales)
    stored = codes_io.to_storage(quantized, small)
    packed = writer.pack(stored, model_cfg, upstream_splits=["train"], codec=codec, brotli_quality=11)
    predicted = size_forecast.predict_size(step_work.count_parameters(model_cfg), quantize, compress)
    assert predicted.payload_bytes == pytest.approx(len(packed), rel=0.25)


def test_the_published_file_of_pr_1493_is_reproduced_within_20_percent():
    """15,976,325 bytes of weights."""
    cfg = loader.load_config(ROOT / "profiles/record.yaml")
    predicted = size_forecast.predict_size(step_work.count_parameters(cfg.model), cfg.quantize, cfg.compress)
    assert predicted.payload_bytes == pytest.approx(15_976_325, rel=0.2)


def test_a_run_that_searches_its_step_fills_its_limit_unless_the_finest_grid_is_smaller():
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    shapes = step_work.count_parameters(cfg.model)
    filled = size_forecast.predict_size(shapes, cfg.quantize, cfg.compress)
    assert filled.payload_bytes == cfg.compress.limit_bytes - cfg.compress.code_reserve_bytes
    ample = dataclasses.replace(cfg.compress, limit_bytes=50_000_000)
    unfilled = size_forecast.predict_size(shapes, cfg.quantize, ample)
    assert unfilled.payload_bytes < 6_000_000
    assert "limit not filled" in unfilled.reason
    fixed = dataclasses.replace(cfg.quantize, base_step=0.6575)
    assert size_forecast.predict_size(shapes, fixed, cfg.compress).payload_bytes == pytest.approx(984_595, rel=0.25)
