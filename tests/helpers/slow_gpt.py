"""The network written out position by position in float64, and models with every weight random to compare with it."""

import math

import torch

from golf.model.gpt import GPT

TOKENS = torch.arange(48).view(2, 24) % 97
OPTIONS: dict[str, dict] = {
    "dense gate": {"attn_gate": "dense"},
    "sparse gate": {"attn_gate": "sparse"},
    "output gate": {"attn_gate": "output"},
    "SmearGate": {"smear_gate_bos_id": 5},
    "short convolution": {"conv_kernel": 3},
    "short convolution and two lanes": {"conv_kernel": 2, "two_lane_from": 3},
    "two lanes": {"two_lane_from": 3},
    "two lanes of two layers": {"two_lane_from": 2, "recur_passes": 1},
    "two soft caps": {"asym_softcap": True, "softcap": 3.0},
    "all": {"attn_gate": "dense", "smear_gate_bos_id": 5, "conv_kernel": 4, "two_lane_from": 3, "asym_softcap": True},
}


def make_random_model(model_cfg) -> GPT:
    """With every weight random, so that no part of the network is asleep."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(model_cfg).init_weights(generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.double()


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

    def convolve(layer, n):
        if cfg.conv_kernel == 1:
            return n
        taps = state[f"blocks.{layer}.conv.taps"]
        rows = [
            n[t] + sum(taps[k - 1] * n[t - k] for k in range(1, min(cfg.conv_kernel, t + 1))) for t in range(length)
        ]
        return torch.stack(rows)

    def block(layer, x, x0):
        mix, scale = state[f"blocks.{layer}.resid_mix"], 1 / math.sqrt(layer + 1)
        attn_scale, mlp_scale = state[f"blocks.{layer}.attn_scale"], state[f"blocks.{layer}.mlp_scale"]
        x = mix[0] * x + mix[1] * x0
        n = convolve(layer, rms(x) * scale)
        attended = attn_scale * attention(layer, n)
        if layer >= cfg.parallel_residual_from:
            return x + attended + mlp_scale * mlp(layer, n)
        h = x + attended
        return h + mlp_scale * mlp(layer, rms(h) * scale)

    def two_lane_block(layer, lanes, x0):
        mix, scale = state[f"blocks.{layer}.resid_mix"], 1 / math.sqrt(layer + 1)
        n = convolve(layer, rms(mix[0] * lanes[0] + mix[1] * x0) * scale)
        a = state[f"blocks.{layer}.attn_scale"] * attention(layer, n)
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
