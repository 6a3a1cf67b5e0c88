import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from golf.model.gpt import GPT, apply_rope, exclusive_self_attention, rms_norm, rope_tables

TOKENS = torch.arange(48).view(2, 24) % 97
OPTIONS = {
    "dense gate": {"attn_gate": "dense"},
    "sparse gate": {"attn_gate": "sparse"},
    "output gate": {"attn_gate": "output"},
    "SmearGate": {"smear_gate_bos_id": 5},
    "two lanes": {"two_lane_from": 3},
    "two lanes of two layers": {"two_lane_from": 2, "recur_passes": 1},
    "two soft caps": {"asym_softcap": True, "softcap": 3.0},
    "all": {"attn_gate": "dense", "smear_gate_bos_id": 5, "two_lane_from": 3, "asym_softcap": True},
}


def make_random_model(model_cfg) -> GPT:
    """With every weight random, so that no part of the network is asleep."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(model_cfg).init_weights(generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.double()


@pytest.fixture
def model(tiny_model_config):
    return make_random_model(tiny_model_config)


def slow_forward(model, tokens, recurrent):
    """The network position by position and head by head, in float64, from the formulas of PR #1493."""
    cfg, state = model.cfg, model.state_dict()
    rms = lambda x: x / (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt()  # noqa: E731
    length, width = len(tokens), cfg.head_dim

    def turned(row, position):
        row, half = row.clone(), cfg.rope_dims // 2
        for j in range(half):
            angle = position * cfg.rope_base ** (-2 * j / cfg.rope_dims)
            a, b = row[j].clone(), row[j + half].clone()
            row[j] = a * math.cos(angle) + b * math.sin(angle)
            row[j + half] = -a * math.sin(angle) + b * math.cos(angle)
        return row

    def attention(layer, n):
        w = lambda name: state[f"blocks.{layer}.attn.{name}"]  # noqa: E731
        q, k, v = (n @ w(f"c_{c}.weight").T for c in "qkv")
        out = torch.zeros(length, cfg.d_model, dtype=n.dtype)
        for head in range(cfg.n_heads):
            group = head * cfg.n_kv_heads // cfg.n_heads
            mine, shared = slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
            for t in range(length):
                query = turned(rms(q[t, mine]), t) * w("q_gain")[head]
                scores = torch.stack([query @ turned(rms(k[u, shared]), u) for u in range(t + 1)]) / math.sqrt(width)
                y = scores.softmax(0) @ v[: t + 1, shared]
                unit = v[t, shared] / v[t, shared].norm()
                out[t, mine] = (y - (y @ unit) * unit) * gate(layer, n[t])[head]
        return out @ w("proj.weight").T

    def gate(layer, row):
        w = lambda name: state[f"blocks.{layer}.attn.gate.{name}"]  # noqa: E731
        if cfg.attn_gate == "none":
            return torch.ones(cfg.n_heads)
        z = w("proj.weight") @ row + w("proj.bias") if cfg.attn_gate == "dense" else w("narrow") @ row[:12]
        return (2 if cfg.attn_gate == "output" else 1) / (1 + torch.exp(-z))

    def embed(t):
        row = state["tok_emb.weight"][tokens[t]]
        if cfg.smear_gate_bos_id is None or t == 0 or tokens[t] == cfg.smear_gate_bos_id:
            return row
        share = state["smear.strength"] / (1 + torch.exp(-(state["smear.inputs"] @ row[:12])))
        return row + share * state["tok_emb.weight"][tokens[t - 1]]

    def mlp(layer, n):
        z = n @ state[f"blocks.{layer}.mlp.fc.weight"].T
        return torch.where(z > 0, z, cfg.leaky_slope * z).square() @ state[f"blocks.{layer}.mlp.proj.weight"].T

    def block(layer, x, x0):
        mix, scale = state[f"blocks.{layer}.resid_mix"], 1 / math.sqrt(layer + 1)
        attn_scale, mlp_scale = state[f"blocks.{layer}.attn_scale"], state[f"blocks.{layer}.mlp_scale"]
        x = mix[0] * x + mix[1] * x0
        attended = attn_scale * attention(layer, rms(x) * scale)
        if layer >= cfg.parallel_residual_from:
            return x + attended + mlp_scale * mlp(layer, rms(x) * scale)
        h = x + attended
        return h + mlp_scale * mlp(layer, rms(h) * scale)

    def two_lane_block(layer, lanes, x0):
        mix, scale = state[f"blocks.{layer}.resid_mix"], 1 / math.sqrt(layer + 1)
        a = state[f"blocks.{layer}.attn_scale"] * attention(layer, rms(mix[0] * lanes[0] + mix[1] * x0) * scale)
        m = state[f"blocks.{layer}.mlp_scale"] * mlp(layer, rms(lanes[1]) * scale)
        r, p = state[f"blocks.{layer}.lanes.residual"], state[f"blocks.{layer}.lanes.posts"]
        return [r[j] * lanes[j] + p[0, j] * a + p[1, j] * m for j in (0, 1)]

    order = [0, 1, 2, 1, 2, 3] if recurrent and cfg.recur_passes == 2 else [0, 1, 2, 3]
    encoder, decoder = order[: len(order) // 2], order[len(order) // 2 :]
    x = x0 = rms(torch.stack([embed(t) for t in range(length)]))
    lanes = None
    skips = []
    for layer in encoder:
        x = block(layer, x, x0)
        skips.append(x)
    for j, layer in enumerate(decoder):
        if skips:
            share = 1 / (1 + torch.exp(-state["skip_gates"][j]))
            x = (1 - share) * (state["skip_weights"][j] * skips.pop()) + share * x
        if cfg.two_lane_from is None or layer < cfg.two_lane_from:
            x = block(layer, x, x0)
        else:
            lanes = two_lane_block(layer, [x, x if lanes is None else lanes[1]], x0)
            x = lanes[0]
    z = rms(x if lanes is None else (x + lanes[1]) / 2) @ state["tok_emb.weight"].T
    caps = state.get("softcaps", torch.tensor([cfg.softcap] * 2))
    cap = torch.where(z > 0, caps[0], caps[1])
    return cap * torch.tanh(z / cap)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_network_is_the_one_that_the_formulas_of_pr_1493_describe(model, recurrent):
    with torch.no_grad():
        ours = model.logits(model(TOKENS, recurrent=recurrent))
        slow = torch.stack([slow_forward(model, row, recurrent) for row in TOKENS])

    torch.testing.assert_close(ours.double(), slow, rtol=0, atol=1e-5)  # logits leave in fp32


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_each_option_is_the_one_that_its_formula_describes(tiny_model_config, changes):
    model = make_random_model(dataclasses.replace(tiny_model_config, **changes))
    with torch.no_grad():
        ours, last = model.logits(model(TOKENS, recurrent=True)), model(TOKENS, recurrent=True, last_n=5)
        slow = torch.stack([slow_forward(model, row, True) for row in TOKENS])

    torch.testing.assert_close(ours.double(), slow, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.logits(last).double(), slow[:, -5:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dense gate", "sparse gate", "output gate", "SmearGate", "two lanes"])
def test_the_gradient_of_each_option_is_that_of_finite_differences(tiny_model_config, name):
    small = {"n_heads": 2, "n_kv_heads": 1, "d_model": 12, "d_ff": 8}
    model = make_random_model(dataclasses.replace(tiny_model_config, **small, **OPTIONS[name]))
    added = [key for key in model.state_dict() if any(part in key for part in ("gate.", "smear.", "lanes."))]

    def hidden(*values):
        weights = dict(zip(added, values, strict=True))
        return torch.func.functional_call(model, weights, (TOKENS[:1, :5],), {"recurrent": True})

    assert torch.autograd.gradcheck(hidden, [model.get_parameter(key) for key in added])


def test_the_gradient_of_two_soft_caps_is_that_of_finite_differences(tiny_model_config):
    cfg, z = dataclasses.replace(tiny_model_config, asym_softcap=True), torch.linspace(-4, 5, 6, dtype=torch.float64)

    def capped(softcaps):
        softcap = GPT.softcap_of(SimpleNamespace(cfg=cfg, softcaps=softcaps), z)
        return softcap * torch.tanh(z / softcap)

    assert torch.autograd.gradcheck(capped, torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("kind", ["output", "SmearGate", "two soft caps"])
def test_an_option_that_starts_as_the_identity_changes_nothing_at_the_start(tiny_model_config, kind):
    changes = {"output": {"attn_gate": "output"}, "SmearGate": {"smear_gate_bos_id": 5}}.get(
        kind, {"asym_softcap": True}
    )
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


def test_the_smear_gate_carries_nothing_over_a_documents_first_token(tiny_model_config):
    model = make_random_model(dataclasses.replace(tiny_model_config, smear_gate_bos_id=5, doc_mask_bos_id=5))
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
