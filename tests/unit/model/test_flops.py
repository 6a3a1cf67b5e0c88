"""golf/model/flops.py against torch's own counter, and against the record's published figures"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from golf.config import loader
from golf.model import flops
from golf.model.gpt import GPT
from tests.helpers.tiny_corpus import ROOT

RECORD = loader.load_config(ROOT / "profiles" / "record.yaml").model


def torch_flops(model_cfg, recurrent: bool, backward: bool) -> int:
    """FLOP of a pass over two windows by torch's counter, with attention as plain products over the whole square."""
    model = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(0, model_cfg.vocab_size, (2, model_cfg.context_length + 1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model.logits(model(ids[:, :-1], recurrent=recurrent))
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_the_count_is_that_of_torch_less_the_half_of_attention_that_is_masked(tiny_model_config, recurrent, backward):
    flop = flops.count_flops_per_token(tiny_model_config, recurrent=recurrent)
    square = dataclasses.replace(
        flop, attention=flop.attention * tiny_model_config.context_length / ((tiny_model_config.context_length + 1) / 2)
    )
    expected = square.training if backward else square.forward
    assert torch_flops(tiny_model_config, recurrent, backward) == 2 * tiny_model_config.context_length * expected


def test_the_record_model_asks_for_what_its_authors_published():
    # Published: 6 (17 · 2.8836 M + 4.19 M) = 319 MFLOP, and about 125 MFLOP of attention at 3.5 forward passes.
    after = flops.count_flops_per_token(RECORD, recurrent=True)
    assert 3 * (after.matmul + after.head) == 6 * (17 * 2_883_584 + 8192 * 512)
    assert 3.5 * after.attention == pytest.approx(125e6, rel=0.01)
    before = flops.count_flops_per_token(RECORD, recurrent=False)
    assert before.training == pytest.approx(0.28e9, rel=0.03)


def test_the_records_own_step_is_at_28_percent_of_eight_h100s():
    share = flops.mfu(RECORD, recurrent=True, tokens_per_second=786_432 / 0.151, peak_flops_per_s=8 * 989.4e12)
    assert share == pytest.approx(0.28, abs=0.005)


def test_recurrence_costs_its_extra_passes_and_no_head(tiny_model_config):
    once, twice = (flops.count_flops_per_token(tiny_model_config, recurrent=recurrent) for recurrent in (False, True))
    assert (twice.matmul / once.matmul, twice.attention / once.attention) == (6 / 4, 6 / 4)
    assert twice.head == once.head
