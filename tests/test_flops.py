"""golf/model/flops.py against torch's own counter, and against the record's published figures"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from golf.ground import params
from golf.model import flops
from golf.model.gpt import GPT

RECORD = params.read(ROOT / "profiles" / "record.yaml").model


def counted(shape, looped: bool, backward: bool) -> int:
    """FLOP of a pass over two windows as torch sees them: attention by plain products over the whole square."""
    model = GPT(shape).initialise(torch.Generator().manual_seed(0))
    ids = torch.randint(0, shape.vocabulary, (2, shape.context + 1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model.logits(model(ids[:, :-1], looped=looped))
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("looped", [False, True])
def test_the_count_is_that_of_torch_less_the_half_of_attention_that_is_masked(tiny_shape, looped, backward):
    flop = flops.per_token(tiny_shape, looped=looped)
    square = dataclasses.replace(flop, attention=flop.attention * tiny_shape.context / ((tiny_shape.context + 1) / 2))
    expected = square.training if backward else square.forward
    assert counted(tiny_shape, looped, backward) == 2 * tiny_shape.context * expected


def test_the_record_model_asks_for_what_its_authors_published():
    # record-stack 4.1: 6 (17 · 2.8836 M + 4.19 M) = 319 MF, and about 125 MF of attention at 3.5 forwards
    after = flops.per_token(RECORD, looped=True)
    assert 3 * (after.matrices + after.head) == 6 * (17 * 2_883_584 + 8192 * 512)
    assert 3.5 * after.attention == pytest.approx(125e6, rel=0.01)
    before = flops.per_token(RECORD, looped=False)
    assert before.training == pytest.approx(0.28e9, rel=0.03)


def test_the_records_own_step_is_at_28_percent_of_eight_h100s():
    share = flops.utilisation(RECORD, looped=True, tokens_per_second=786_432 / 0.151, peak=8 * 989.4e12)
    assert share == pytest.approx(0.28, abs=0.005)


def test_a_loop_costs_its_extra_passes_and_no_head(tiny_shape):
    once, twice = (flops.per_token(tiny_shape, looped=looped) for looped in (False, True))
    assert (twice.matrices / once.matrices, twice.attention / once.attention) == (6 / 4, 6 / 4)
    assert twice.head == once.head
