"""Numeric parity with PR #1493's own functions on a tiny model, where its figures are at hand."""

import pytest
import torch
from safetensors.torch import load_file

from golf.quantization import row_scales
from golf.quantization.gptq import factorize, gptq

LAYERS = ("blocks.3.attn.c_q", "blocks.3.mlp.fc", "blocks.3.mlp.proj")


@pytest.fixture(scope="module")
def reference(shared_data):
    path = shared_data / "parity" / "tiny.safetensors"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return load_file(path)


@pytest.mark.parametrize("layer", LAYERS)
def test_steps_are_the_records_to_the_bit(reference, layer):
    assert torch.equal(row_scales.sdclip_scales(reference[f"w.{layer}.weight"], 12.85, 6), reference[f"{layer}.scale"])


@pytest.mark.parametrize("layer", LAYERS)
def test_codes_are_the_records_but_for_ties(reference, layer):
    w, h, steps = reference[f"w.{layer}.weight"], reference[f"{layer}.H"], reference[f"{layer}.scale"]
    ones = torch.ones(1, w.shape[1])
    codes = gptq(w[None], factorize(h[None], 0.01), steps[None], ones, max_code=31, block_size=128)[0]
    off = (codes.int() - reference[f"{layer}.codes"].int()).abs()
    assert off.max() <= 1
    assert off.sum() <= 2  # a tie resolved otherwise moves what follows it in its row
