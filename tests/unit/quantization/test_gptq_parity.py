"""GPTQ gives the codes and scales that PR #1493's own function gives (tests/golden/parity)"""

import numpy as np
import pytest
import torch

from golf.quantization import row_scales
from golf.quantization.gptq import factorize, gptq
from tests.helpers import parity_inputs
from tests.helpers.tiny_corpus import ROOT


@pytest.fixture(scope="module")
def figures():
    with np.load(ROOT / "tests/golden/parity/pr1493.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("gptq_codes", "gptq_scales")}


def test_scales_are_the_records_to_the_bit(figures):
    weight, _ = parity_inputs.make_gptq_problem()
    assert torch.equal(row_scales.compute_sdclip_scales(weight, 12.85, 6), figures["gptq_scales"])


def test_codes_are_the_records_except_for_ties(figures):
    weight, hessian = parity_inputs.make_gptq_problem()
    scales, ones = figures["gptq_scales"], torch.ones(1, weight.shape[1])
    codes = gptq(weight[None], factorize(hessian[None], 0.01), scales[None], ones, max_code=31, block_size=128)[0]
    difference = (codes.int() - figures["gptq_codes"].int()).abs()
    assert difference.max() <= 1
    assert difference.sum() <= 2  # a tie that is rounded the other way changes later codes of its row
