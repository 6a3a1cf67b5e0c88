"""Numeric parity with PR #1493's own functions on a tiny model, where its figures are at hand."""

import pytest
import torch
from safetensors.torch import load_file

from golf.quant import sdclip
from golf.quant.gptq import factor, gptq

LAYERS = ("blocks.3.attn.c_q", "blocks.3.mlp.fc", "blocks.3.mlp.proj")


@pytest.fixture(scope="module")
def tiny(shared_data):
    path = shared_data / "parity" / "tiny.safetensors"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return load_file(path)


@pytest.mark.parametrize("layer", LAYERS)
def test_steps_are_the_records_to_the_bit(tiny, layer):
    assert torch.equal(sdclip.steps(tiny[f"w.{layer}.weight"], 12.85, 6), tiny[f"{layer}.scale"])


@pytest.mark.parametrize("layer", LAYERS)
def test_codes_are_the_records_but_for_ties(tiny, layer):
    w, h, steps = tiny[f"w.{layer}.weight"], tiny[f"{layer}.H"], tiny[f"{layer}.scale"]
    ones = torch.ones(1, w.shape[1])
    codes = gptq(w[None], factor(h[None], 0.01), steps[None], ones, largest=31, block=128)[0]
    off = (codes.int() - tiny[f"{layer}.codes"].int()).abs()
    assert off.max() <= 1
    assert off.sum() <= 2  # a tie resolved otherwise moves what follows it in its row
