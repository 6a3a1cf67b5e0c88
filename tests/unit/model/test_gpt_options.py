"""The options of golf/model/gpt.py: gates.py, residual_lanes.py, short_conv.py, smear_gate.py and the soft caps"""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from golf.model.gpt import GPT
from tests.helpers.slow_gpt import OPTIONS, TOKENS, make_random_model, slow_forward


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_each_option_is_the_one_that_its_formula_describes(tiny_model_config, changes):
    model = make_random_model(dataclasses.replace(tiny_model_config, **changes))
    with torch.no_grad():
        ours, last = model.logits(model(TOKENS, recurrent=True)), model(TOKENS, recurrent=True, last_n=5)
        slow = torch.stack([slow_forward(model, row, True) for row in TOKENS])

    torch.testing.assert_close(ours.double(), slow, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.logits(last).double(), slow[:, -5:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["dense gate", "sparse gate", "output gate", "SmearGate", "short convolution", "two lanes"]
)
def test_the_gradient_of_each_option_is_that_of_finite_differences(tiny_model_config, name):
    small = {"n_heads": 2, "n_kv_heads": 1, "d_model": 12, "d_ff": 8}
    model = make_random_model(dataclasses.replace(tiny_model_config, **small, **OPTIONS[name]))
    added = [key for key in model.state_dict() if any(part in key for part in ("gate.", "smear.", "conv.", "lanes."))]

    def hidden(*values):
        weights = dict(zip(added, values, strict=True))
        return torch.func.functional_call(model, weights, (TOKENS[:1, :5],), {"recurrent": True})

    assert torch.autograd.gradcheck(hidden, [model.get_parameter(key) for key in added])


def test_the_gradient_of_two_soft_caps_is_that_of_finite_differences(tiny_model_config):
    cfg, z = dataclasses.replace(tiny_model_config, asym_softcap=True), torch.linspace(-4, 5, 6, dtype=torch.float64)

    def capped(softcaps):
        softcap = GPT.get_softcap(SimpleNamespace(cfg=cfg, softcaps=softcaps), z)
        return softcap * torch.tanh(z / softcap)

    assert torch.autograd.gradcheck(capped, torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("kind", ["output", "SmearGate", "short convolution", "two soft caps"])
def test_an_option_that_starts_as_the_identity_changes_nothing_at_the_start(tiny_model_config, kind):
    changes = {
        "output": {"attn_gate": "output"},
        "SmearGate": {"smear_gate_bos_id": 5},
        "short convolution": {"conv_kernel": 4},
        "two soft caps": {"asym_softcap": True},
    }[kind]
    plain, optional = (
        GPT(dataclasses.replace(tiny_model_config, **each)).init_weights(torch.Generator().manual_seed(1))
        for each in ({}, changes)
    )
    with torch.no_grad():
        for model in (plain, optional):
            for block in model.blocks:
                block.attn.proj.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(2))
        expected, actual = (m.logits(m(TOKENS, recurrent=True)) for m in (plain, optional))

    assert torch.equal(expected, actual)
    assert set(plain.state_dict()) < set(optional.state_dict())


def test_gates_and_lanes_start_where_their_sources_say(tiny_model_config):
    row = torch.randn(1, 1, 32)
    starts = {"dense": 1 / (1 + math.exp(-2.94)), "sparse": 0.5, "output": 1.0}
    for kind, start in starts.items():
        gate = GPT(dataclasses.replace(tiny_model_config, attn_gate=kind)).blocks[0].attn.gate
        torch.testing.assert_close(gate(row), torch.full((1, 1, 4, 1), start))
    lanes = GPT(dataclasses.replace(tiny_model_config, two_lane_from=3)).blocks[3].lanes
    assert lanes.residual.tolist() == pytest.approx([1.1, 1.1])
    assert torch.equal(lanes.posts, torch.ones(2, 2))


@pytest.mark.parametrize(
    "option", [{"smear_gate_bos_id": 5}, {"conv_kernel": 4}], ids=["SmearGate", "short convolution"]
)
def test_nothing_is_carried_over_a_documents_first_token(tiny_model_config, option):
    model = make_random_model(dataclasses.replace(tiny_model_config, doc_mask_bos_id=5, **option))
    tokens = TOKENS[:1].clone()
    tokens[0, 10] = 5
    other = tokens.clone()
    other[0, 9] = 3
    with torch.no_grad():
        before, after = model(tokens, recurrent=True), model(other, recurrent=True)

    assert torch.equal(before[0, 10:], after[0, 10:])
    assert not torch.equal(before[0, 9], after[0, 9])


def test_two_soft_caps_learn_from_adaptation_and_not_from_training(tiny_model_config):
    model = make_random_model(dataclasses.replace(tiny_model_config, asym_softcap=True, softcap=3.0)).float()
    targets = TOKENS.roll(-1, 1)

    adapting = model.nll_sum(TOKENS, targets, recurrent=True)
    training = model.nll_sum(TOKENS, targets, recurrent=True, fit_softcaps=False)
    with torch.no_grad():
        model.softcaps.fill_(3.0)
    equal_caps = model.nll_sum(TOKENS, targets, recurrent=True)

    assert torch.autograd.grad(adapting, model.softcaps)[0].abs().min() > 0
    assert torch.autograd.grad(training, model.softcaps, allow_unused=True) == (None,)
    torch.testing.assert_close(training, equal_caps, rtol=1e-5, atol=0)
