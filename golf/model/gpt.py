"""The network of PR #1493 (record-stack 1.3), one forward path for training, scoring and adaptation.

B batch, T positions, S trailing positions asked for, D width, H query heads, G key/value heads, E head width, V words
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from golf.ground.shape import Shape
from golf.model.attention import door
from golf.model.head import SummedNLL, products


class Attention(nn.Module):
    """Causal GQA with normalised queries and keys, partial RoPE, a gain per head, and exclusive self-attention."""

    def __init__(self, shape: Shape, exclusive: bool, backend: str):
        super().__init__()
        self.head_width, self.kv_heads = shape.head_width, shape.kv_heads
        self.exclusive, self.attend = exclusive, door(backend)
        kv_width = shape.kv_heads * shape.head_width
        self.c_q = nn.Linear(shape.width, shape.width, bias=False)
        self.c_k = nn.Linear(shape.width, kv_width, bias=False)
        self.c_v = nn.Linear(shape.width, kv_width, bias=False)
        self.proj = nn.Linear(shape.width, shape.width, bias=False)
        self.q_gain = nn.Parameter(torch.full((shape.heads,), shape.qk_gain))

    def forward(self, n_BTD: torch.Tensor, rope, documents, tail: int) -> torch.Tensor:
        """The heads' output for the last ``tail`` positions: [B, tail, D]."""
        batch, length, width = n_BTD.shape
        q = self.c_q(n_BTD[:, length - tail :]).view(batch, tail, -1, self.head_width)
        k = self.c_k(n_BTD).view(batch, length, -1, self.head_width)
        v = self.c_v(n_BTD).view(batch, length, -1, self.head_width)
        q = rotate(norm(q), rope, length - tail, length) * self.q_gain.to(q.dtype)[:, None]
        k = rotate(norm(k), rope, 0, length)
        y = self.attend(q.to(v.dtype), k.to(v.dtype), v, documents)
        if self.exclusive:
            y = without_own_value(y, v[:, length - tail :])
        return self.proj(y.reshape(batch, tail, width))


class MLP(nn.Module):
    """proj(LeakyReLU(fc(x))²), PR #493."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.slope = shape.leaky_slope
        self.fc = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.proj = nn.Linear(shape.mlp_width, shape.width, bias=False)

    def forward(self, n_BTD: torch.Tensor) -> torch.Tensor:
        return self.proj(F.leaky_relu(self.fc(n_BTD), self.slope).square())


class Block(nn.Module):
    """Residual mix with the embedding, attention, MLP: one after the other, or side by side on one input (parallel)."""

    def __init__(self, shape: Shape, layer: int, backend: str):
        super().__init__()
        self.scale = 1 / math.sqrt(layer + 1)  # by the physical layer, so a looped pass keeps it
        self.parallel = layer >= shape.parallel_from
        self.attn = Attention(shape, layer >= shape.xsa_from, backend)
        self.mlp = MLP(shape)
        self.attn_scale = nn.Parameter(torch.ones(shape.width))
        self.mlp_scale = nn.Parameter(torch.ones(shape.width))
        self.resid_mix = nn.Parameter(torch.stack([torch.ones(shape.width), torch.zeros(shape.width)]))

    def forward(self, x_BTD: torch.Tensor, x0_BTD: torch.Tensor, rope, documents, tail: int) -> torch.Tensor:
        mix, start = self.resid_mix.to(x_BTD.dtype), x_BTD.shape[1] - tail
        x = mix[0] * x_BTD + mix[1] * x0_BTD
        normed = norm(x) * self.scale
        attended = self.attn_scale.to(x.dtype) * self.attn(normed, rope, documents, tail)
        x, normed = x[:, start:], normed[:, start:]
        if self.parallel:
            return x + attended + self.mlp_scale.to(x.dtype) * self.mlp(normed)
        x = x + attended
        return x + self.mlp_scale.to(x.dtype) * self.mlp(norm(x) * self.scale)


class GPT(nn.Module):
    """Tied embedding, U-Net skips with sigmoid gates, depth recurrence, soft-capped logits. Weights are fp32."""

    def __init__(self, shape: Shape, attention: str = "sdpa"):
        super().__init__()
        self.shape = shape
        self.tok_emb = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer, attention) for layer in range(shape.layers))
        self.skip_weights = nn.Parameter(torch.ones(shape.skips, shape.width))
        self.skip_gates = nn.Parameter(torch.zeros(shape.skips, shape.width))
        cos, sin = rope_tables(shape)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> "GPT":
        """Embedding N(0, std), matrices orthogonal, the two output projections of each block zero."""
        self.tok_emb.weight.normal_(0, self.shape.embed_std, generator=generator)
        for block in self.blocks:
            for linear in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.mlp.fc):
                nn.init.orthogonal_(linear.weight, generator=generator)
            for linear in (block.attn.proj, block.mlp.proj):
                linear.weight.zero_()
        return self

    def forward(self, tokens_BT: torch.Tensor, *, looped: bool, tail: int | None = None) -> torch.Tensor:
        """The normed output of the last ``tail`` positions (None: all): [B, S, D]. looped: recurrence is active.

        Only the last block and what follows it are spared the other positions; every earlier one feeds attention.
        """
        length = tokens_BT.shape[1]
        rope = self.rope_cos[:length], self.rope_sin[:length]
        bos = self.shape.document_bos
        documents = None if bos is None else (tokens_BT == bos).cumsum(1)
        encoder, decoder = self.shape.order(looped)
        x = x0 = norm(self.tok_emb(tokens_BT)).to(products(tokens_BT.device, self.tok_emb.weight.dtype))
        skips = []
        for layer in encoder:
            x = self.blocks[layer](x, x0, rope, documents, length)
            skips.append(x)
        for position, layer in enumerate(decoder):
            if skips:
                gate = torch.sigmoid(self.skip_gates[position]).to(x.dtype)
                x = torch.lerp(self.skip_weights[position].to(x.dtype) * skips.pop(), x, gate)
            last = position == len(decoder) - 1
            x = self.blocks[layer](x, x0, rope, documents, tail if last and tail else length)
        return norm(x)

    def logits(self, hidden_BSD: torch.Tensor) -> torch.Tensor:
        """c tanh(z / c) in fp32: [B, S, V]."""
        z = F.linear(hidden_BSD, self.tok_emb.weight.to(hidden_BSD.dtype)).float()
        return self.shape.softcap * torch.tanh(z / self.shape.softcap)

    def nll(self, tokens_BT, targets_BS, *, looped: bool) -> torch.Tensor:
        """Nats of each target, fp32, [B, S]. targets belong to the last S positions."""
        logits = self.logits(self(tokens_BT, looped=looped, tail=targets_BS.shape[1]))
        flat = F.cross_entropy(logits.flatten(0, 1), targets_BS.flatten(), reduction="none")
        return flat.view_as(targets_BS)

    def summed_nll(self, tokens_BT, targets_BT, *, looped: bool) -> torch.Tensor:
        """Σ nats of the targets, fp32: what training follows downhill, without the logits of all positions at once."""
        hidden, weight = self(tokens_BT, looped=looped).flatten(0, 1), self.tok_emb.weight
        dtype = products(hidden.device, hidden.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            return SummedNLL.apply(hidden, weight, targets_BT.flatten(), self.shape.softcap, dtype)


def norm(x: torch.Tensor) -> torch.Tensor:
    """RMSNorm without a weight over the last dimension."""
    return F.rms_norm(x, x.shape[-1:])


def rope_tables(shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of t · base^(-2j / dims) for j < dims / 2: fp32, [context, dims / 2] each."""
    rates = shape.rope_base ** (-torch.arange(0, shape.rope_dims, 2, dtype=torch.float64) / max(1, shape.rope_dims))
    angles = torch.arange(shape.context, dtype=torch.float64)[:, None] * rates
    return angles.cos().float(), angles.sin().float()


def rotate(x_BTHE: torch.Tensor, rope, start: int, stop: int) -> torch.Tensor:
    """Partial RoPE in half-split pairs: dimension j turns with j + dims / 2, the rest passes."""
    cos, sin = (table[start:stop, None].to(x_BTHE.dtype) for table in rope)
    half = cos.shape[-1]
    a, b, rest = x_BTHE.split([half, half, x_BTHE.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin, rest], dim=-1)


def without_own_value(y_BSHE: torch.Tensor, v_BSGE: torch.Tensor) -> torch.Tensor:
    """XSA: each head's output less its part along its own position's value, y - (y·v̂) v̂."""
    batch, length, heads, width = y_BSHE.shape
    unit = F.normalize(v_BSGE, dim=-1)[:, :, :, None]
    grouped = y_BSHE.view(batch, length, v_BSGE.shape[2], -1, width)
    return (grouped - (grouped * unit).sum(-1, keepdim=True) * unit).reshape(batch, length, heads, width)
