"""The record recipe's training step, plainly: what ours is measured against.

Written from its description (PR #1493; record-stack 1.3, 1.4 and 4.1) and on purpose of nothing in golf/model or
golf/train: the forward and its loss are one compiled graph, in which the logits of all positions exist in fp32;
Newton–Schulz takes one matrix after the other, in bf16; gradients are clipped, and the average is taken, tensor by
tensor. The embedding's weights are fp32 here, as ours are. Parameters have the names of golf's GPT, so one state dict
fits both.
"""

# B batch, T positions, D width, H query heads, G key/value heads, E head width

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

QUINTIC = 3.4445, -4.775, 2.0315


def rms(x):
    return F.rms_norm(x, (x.size(-1),))


class PlainBlock(nn.Module):
    def __init__(self, shape, layer: int):
        super().__init__()
        kv_width = shape.kv_heads * shape.head_width
        self.shape, self.scale = shape, 1 / math.sqrt(layer + 1)
        self.parallel, self.exclusive = layer >= shape.parallel_from, layer >= shape.xsa_from
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_q, self.attn.proj = (nn.Linear(shape.width, shape.width, bias=False) for _ in range(2))
        self.attn.c_k, self.attn.c_v = (nn.Linear(shape.width, kv_width, bias=False) for _ in range(2))
        self.attn.q_gain = nn.Parameter(torch.ones(shape.heads))
        self.mlp.fc = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.mlp.proj = nn.Linear(shape.mlp_width, shape.width, bias=False)
        self.attn_scale, self.mlp_scale = (nn.Parameter(torch.ones(shape.width)) for _ in range(2))
        self.resid_mix = nn.Parameter(torch.zeros(2, shape.width))

    def attention(self, n_BTD, cos, sin):
        attn, shape = self.attn, self.shape
        batch, length, width = n_BTD.shape
        q = attn.c_q(n_BTD).view(batch, length, shape.heads, shape.head_width)
        k = attn.c_k(n_BTD).view(batch, length, shape.kv_heads, shape.head_width)
        v = attn.c_v(n_BTD).view(batch, length, shape.kv_heads, shape.head_width)
        q = turned(rms(q), cos, sin) * attn.q_gain.to(q.dtype)[None, None, :, None]
        k = turned(rms(k), cos, sin)
        heads = (x.to(v.dtype).transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True).transpose(1, 2)
        if self.exclusive:
            grouped = y.reshape(batch, length, shape.kv_heads, -1, shape.head_width)
            unit = F.normalize(v, dim=-1).unsqueeze(-2)
            y = grouped - (grouped * unit).sum(-1, keepdim=True) * unit
        return attn.proj(y.reshape(batch, length, width))

    def feed_forward(self, n_BTD):
        return self.mlp.proj(F.leaky_relu(self.mlp.fc(n_BTD), self.shape.leaky_slope).square())

    def forward(self, x, x0, cos, sin):
        mix = self.resid_mix.to(x.dtype)
        x = mix[0] * x + mix[1] * x0
        n = rms(x) * self.scale
        h = x + self.attn_scale.to(x.dtype) * self.attention(n, cos, sin)
        n = n if self.parallel else rms(h) * self.scale
        return h + self.mlp_scale.to(x.dtype) * self.feed_forward(n)


class PlainGPT(nn.Module):
    """(x, y, looped) -> mean nats."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.tok_emb = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(PlainBlock(shape, layer) for layer in range(shape.layers))
        self.skip_weights = nn.Parameter(torch.ones(shape.skips, shape.width))
        self.skip_gates = nn.Parameter(torch.zeros(shape.skips, shape.width))
        pairs = torch.arange(0, shape.rope_dims, 2, dtype=torch.float64)
        rates = shape.rope_base ** (-pairs / max(1, shape.rope_dims))
        angles = torch.arange(shape.context, dtype=torch.float64)[:, None, None] * rates
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x_BT, y_BT, looped: bool):
        encoder, decoder = self.shape.order(looped)
        x = x0 = rms(self.tok_emb(x_BT))
        skips = []
        for layer in encoder:
            x = self.blocks[layer](x, x0, self.cos, self.sin)
            skips.append(x)
        for place, layer in enumerate(decoder):
            if skips:
                gate = torch.sigmoid(self.skip_gates[place]).to(x.dtype)
                x = (1 - gate) * (self.skip_weights[place].to(x.dtype) * skips.pop()) + gate * x
            x = self.blocks[layer](x, x0, self.cos, self.sin)
        logits = F.linear(rms(x), self.tok_emb.weight.to(x.dtype)).float()
        logits = self.shape.softcap * torch.tanh(logits / self.shape.softcap)
        return F.cross_entropy(logits.flatten(0, 1), y_BT.flatten())


def turned(x_BTHE, cos, sin):
    half, cos, sin = cos.size(-1), cos.to(x_BTHE.dtype), sin.to(x_BTHE.dtype)
    a, b, rest = x_BTHE[..., :half], x_BTHE[..., half : 2 * half], x_BTHE[..., 2 * half :]
    return torch.cat((a * cos + b * sin, -a * sin + b * cos, rest), -1)


class PlainStep:
    """The whole step of one rank: gradients in micro-batches, clip, Muon and AdamW, one average. wanted: params train.

    ``optimise`` is apart, so that a trace can tell its time.
    """

    def __init__(self, shape, state: dict, wanted, here):
        self.model, self.wanted, self.here = PlainGPT(shape).to(here.device), wanted, here
        self.model.load_state_dict(state)
        self.loss = here.compiled(self.model)
        named = dict(self.model.named_parameters())
        self.parameters = list(named.values())
        self.matrices = [p for name, p in named.items() if name.startswith("blocks.") and name.endswith(".weight")]
        scalars = [p for name, p in named.items() if not name.endswith(".weight")]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        self.average = [p.detach().clone() for p in self.parameters]
        groups = (
            SimpleNamespace(params=[self.model.tok_emb.weight], lr=wanted.embed_lr, weight_decay=wanted.embed_decay),
            SimpleNamespace(params=scalars, lr=wanted.scalar_lr, weight_decay=wanted.scalar_decay),
        )
        betas = wanted.beta1, wanted.beta2
        self.adams = [torch.optim.AdamW([vars(group)], betas=betas, eps=wanted.eps, fused=True) for group in groups]

    def step(self, batch, momentum: float, looped: bool) -> torch.Tensor:
        """(x, y) int64 [rows, T] -> mean nats before the step."""
        rows = self.wanted.micro_tokens // batch[0].shape[1]
        micro = list(zip(*(tokens.split(rows) for tokens in batch), strict=True))
        total = torch.zeros((), device=self.here.device)
        for x, y in micro:
            with self.here.autocast():
                value = self.loss(x, y, looped) / len(micro)
            value.backward()
            total += value.detach()
        if self.wanted.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.wanted.clip, foreach=False)
        self.optimise(momentum)
        for parameter in self.parameters:
            parameter.grad = None
        return total

    @torch.no_grad()
    def optimise(self, momentum: float) -> None:
        lr, decay = self.wanted.matrix_lr, self.wanted.matrix_decay
        for weight, buffer in zip(self.matrices, self.momenta, strict=True):
            buffer.mul_(momentum).add_(weight.grad)
            u = weight.grad.add(buffer, alpha=momentum)
            u = u / u.norm(dim=-1, keepdim=True).clamp_min(1e-7)
            update = newton_schulz(u, self.wanted.newton_schulz) * max(1, weight.size(0) / weight.size(1)) ** 0.5
            weight.mul_(1 - lr * decay).add_(update.to(weight.dtype), alpha=-lr)
        for adam in self.adams:
            adam.step()
        keep = self.wanted.ema_decays[0]
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.mul_(keep).add_(parameter, alpha=1 - keep)


def newton_schulz(u_RC: torch.Tensor, steps: int) -> torch.Tensor:
    """bf16: singular values to about 1."""
    a, b, c = QUINTIC
    x = u_RC.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
