import dataclasses
import math

import pytest
import torch

from golf.model.gpt import GPT, apply_rope, exclusive_self_attention, rms_norm, rope_tables
from tests.helpers.slow_gpt import TOKENS, make_random_model, slow_forward


@pytest.fixture
def model(tiny_model_config):
    return make_random_model(tiny_model_config)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_network_is_the_one_that_the_formulas_of_pr_1493_describe(model, recurrent):
    with torch.no_grad():
        ours = model.logits(model(TOKENS, recurrent=recurrent))
        slow = torch.stack([slow_forward(model, row, recurrent) for row in TOKENS])

    torch.testing.assert_close(ours.double(), slow, rtol=0, atol=1e-5)  # logits leave in fp32


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_later_token_changes_no_earlier_output(model, recurrent):
    changed = TOKENS.clone()
    changed[:, 15] = 3
    with torch.no_grad():
        before, after = model(TOKENS, recurrent=recurrent), model(changed, recurrent=recurrent)

    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.allclose(before[:, 15:], after[:, 15:])


@pytest.mark.parametrize("tail", [1, 5, 24])
def test_asking_for_the_last_positions_alone_gives_what_the_whole_gives(model, tail):
    with torch.no_grad():
        whole, last = model(TOKENS, recurrent=True), model(TOKENS, recurrent=True, last_n=tail)

    assert last.shape == (2, tail, model.cfg.d_model)
    torch.testing.assert_close(last, whole[:, -tail:], rtol=1e-12, atol=1e-12)


def test_nll_is_the_cross_entropy_of_the_capped_logits_in_fp32(model):
    targets = TOKENS.roll(-1, 1)
    with torch.no_grad():
        nll = model.nll(TOKENS, targets, recurrent=True)
        logits = model.logits(model(TOKENS, recurrent=True))

    expected = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, expected)


def test_a_fresh_model_predicts_nothing_and_its_blocks_pass_their_input_on(tiny_model_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss = model.nll(TOKENS, TOKENS.roll(-1, 1), recurrent=False).mean()

    assert loss.item() == pytest.approx(math.log(tiny_model_config.vocab_size), abs=0.05)
    assert all(not block.attn.proj.weight.any() and not block.mlp.proj.weight.any() for block in model.blocks)
    rows = model.blocks[0].mlp.fc.weight
    torch.testing.assert_close(rows.T @ rows, torch.eye(tiny_model_config.d_model), atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tiny_model_config):
    first, same, other = (
        GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(s)).state_dict() for s in (1, 1, 2)
    )

    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["tok_emb.weight"], other["tok_emb.weight"])


def test_rope_tables_are_buffers_that_no_checkpoint_carries(tiny_model_config):
    model = GPT(tiny_model_config)

    assert {name for name, _ in model.named_buffers()} == {"rope_cos", "rope_sin"}
    assert not {name for name in model.state_dict() if "rope" in name}


def test_rope_keeps_lengths_and_depends_on_distance_alone(tiny_model_config):
    tables = tuple(table.double() for table in rope_tables(tiny_model_config))
    q, k = torch.randn(2, 1, 1, 1, tiny_model_config.head_dim, dtype=torch.float64).unbind(0)
    turned = lambda x, t: apply_rope(x, tables, t, t + 1).flatten()  # noqa: E731

    assert turned(q, 9).norm() == pytest.approx(q.norm().item())
    assert (turned(q, 9) @ turned(k, 4)).item() == pytest.approx((turned(q, 7) @ turned(k, 2)).item(), abs=1e-6)
    assert torch.equal(turned(q, 9)[tiny_model_config.rope_dims :], q.flatten()[tiny_model_config.rope_dims :])


def test_exclusive_attention_leaves_nothing_along_a_positions_own_value():
    y, v = torch.randn(2, 5, 4, 8), torch.randn(2, 5, 2, 8)

    cleaned = exclusive_self_attention(y, v)

    torch.testing.assert_close((cleaned * v.repeat_interleave(2, 2)).sum(-1), torch.zeros(2, 5, 4), atol=1e-5, rtol=0)


def test_layers_from_parallel_residual_from_on_feed_the_mlp_what_attention_reads(tiny_model_config):
    assert [block.is_parallel for block in GPT(tiny_model_config).blocks] == [False, False, False, True]


def test_norm_has_no_weight_and_gives_unit_mean_square():
    x = rms_norm(torch.randn(3, 64) * 7)

    torch.testing.assert_close(x.square().mean(-1), torch.ones(3))


def test_without_recurrence_the_recurrent_order_is_the_plain_one(tiny_model_config):
    flat = dataclasses.replace(tiny_model_config, recur_passes=1)

    assert flat.layer_order(True) == flat.layer_order(False)


@pytest.mark.parametrize("recurrent", [False, True])
def test_with_a_document_bos_no_document_sees_another_one_in_its_window(tiny_model_config, recurrent):
    """Neither through attention nor through skips, recurrence or exclusive self-attention."""
    model = GPT(dataclasses.replace(tiny_model_config, doc_mask_bos_id=1)).init_weights(
        torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for block in model.blocks:
            block.attn.proj.weight.normal_(0, 0.2)
    tokens = torch.randint(5, tiny_model_config.vocab_size, (1, 24))
    tokens[0, [0, 9, 17]] = 1
    other = tokens.clone()
    other[0, 8] = 3  # the last token of the first document

    before, after = model(tokens, recurrent=recurrent), model(other, recurrent=recurrent)

    assert not torch.equal(before[0, 8], after[0, 8])
    torch.testing.assert_close(before[0, 9:], after[0, 9:], rtol=0, atol=0)
    for start, stop in ((0, 9), (9, 17)):
        alone = model(tokens[:, start:stop], recurrent=recurrent)
        if start == 0:  # positions turn queries and keys together, so what comes later differs by rounding alone
            torch.testing.assert_close(before[:, :stop], alone, rtol=0, atol=1e-6)
        else:
            torch.testing.assert_close(before[:, start:stop], alone, rtol=1e-4, atol=1e-4)


def test_without_a_document_bos_a_window_is_one_text(model, tiny_model_config):
    tokens = torch.randint(5, tiny_model_config.vocab_size, (1, 24))
    tokens[0, 9] = 1
    other = tokens.clone()
    other[0, 8] = 3
    with torch.no_grad():
        assert not torch.equal(model(tokens, recurrent=True)[0, 20], model(other, recurrent=True)[0, 20])
