"""The baseline of train_step.py: the training step of PR #1493, in plain code.

Written from its description (docs/references.md#pr-1493) and, on purpose, without golf/model and golf/training. The
forward pass and its loss are one compiled graph, in which the logits of all positions exist in fp32. Newton–Schulz
processes one matrix after the other in bf16. Clipping and the moving average go tensor by tensor. The embedding is fp32
here, like ours. Parameters have the names of golf's GPT, so that one state dict fits both.
"""

# B batch, T positions, D width, H query heads, G key/value heads, E head width

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "NS_COEFFICIENTS",
    "ReferenceBlock",
    "ReferenceGPT",
    "ReferenceStep",
    "apply_rope",
    "newton_schulz",
    "rms_norm",
]

NS_COEFFICIENTS = 3.4445, -4.775, 2.0315


def rms_norm(x):
    return F.rms_norm(x, (x.size(-1),))


class ReferenceBlock(nn.Module):
    def __init__(self, model_cfg, layer: int):
        super().__init__()
        d_kv = model_cfg.n_kv_heads * model_cfg.head_dim
        self.model_cfg, self.scale = model_cfg, 1 / math.sqrt(layer + 1)
        self.is_parallel, self.is_exclusive = layer >= model_cfg.parallel_residual_from, layer >= model_cfg.xsa_from
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_q, self.attn.proj = (nn.Linear(model_cfg.d_model, model_cfg.d_model, bias=False) for _ in range(2))
        self.attn.c_k, self.attn.c_v = (nn.Linear(model_cfg.d_model, d_kv, bias=False) for _ in range(2))
        self.attn.q_gain = nn.Parameter(torch.ones(model_cfg.n_heads))
        self.mlp.fc = nn.Linear(model_cfg.d_model, model_cfg.d_ff, bias=False)
        self.mlp.proj = nn.Linear(model_cfg.d_ff, model_cfg.d_model, bias=False)
        self.attn_scale, self.mlp_scale = (nn.Parameter(torch.ones(model_cfg.d_model)) for _ in range(2))
        self.resid_mix = nn.Parameter(torch.zeros(2, model_cfg.d_model))

    def attention(self, n_BTD, cos, sin):
        attn, model_cfg = self.attn, self.model_cfg
        batch, length, d_model = n_BTD.shape
        q = attn.c_q(n_BTD).view(batch, length, model_cfg.n_heads, model_cfg.head_dim)
        k = attn.c_k(n_BTD).view(batch, length, model_cfg.n_kv_heads, model_cfg.head_dim)
        v = attn.c_v(n_BTD).view(batch, length, model_cfg.n_kv_heads, model_cfg.head_dim)
        q = apply_rope(rms_norm(q), cos, sin) * attn.q_gain.to(q.dtype)[None, None, :, None]
        k = apply_rope(rms_norm(k), cos, sin)
        heads = (x.to(v.dtype).transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True).transpose(1, 2)
        if self.is_exclusive:
            grouped = y.reshape(batch, length, model_cfg.n_kv_heads, -1, model_cfg.head_dim)
            unit = F.normalize(v, dim=-1).unsqueeze(-2)
            y = grouped - (grouped * unit).sum(-1, keepdim=True) * unit
        return attn.proj(y.reshape(batch, length, d_model))

    def feed_forward(self, n_BTD):
        return self.mlp.proj(F.leaky_relu(self.mlp.fc(n_BTD), self.model_cfg.leaky_slope).square())

    def forward(self, x, x0, cos, sin):
        mix = self.resid_mix.to(x.dtype)
        x = mix[0] * x + mix[1] * x0
        n = rms_norm(x) * self.scale
        h = x + self.attn_scale.to(x.dtype) * self.attention(n, cos, sin)
        n = n if self.is_parallel else rms_norm(h) * self.scale
        return h + self.mlp_scale.to(x.dtype) * self.feed_forward(n)


class ReferenceGPT(nn.Module):
    """(x, y, recurrent) -> mean nats per token."""

    def __init__(self, model_cfg):
        super().__init__()
        self.model_cfg = model_cfg
        self.tok_emb = nn.Embedding(model_cfg.vocab_size, model_cfg.d_model)
        self.blocks = nn.ModuleList(ReferenceBlock(model_cfg, layer) for layer in range(model_cfg.n_layers))
        self.skip_weights = nn.Parameter(torch.ones(model_cfg.n_skips, model_cfg.d_model))
        self.skip_gates = nn.Parameter(torch.zeros(model_cfg.n_skips, model_cfg.d_model))
        pairs = torch.arange(0, model_cfg.rope_dims, 2, dtype=torch.float64)
        frequencies = model_cfg.rope_base ** (-pairs / max(1, model_cfg.rope_dims))
        angles = torch.arange(model_cfg.context_length, dtype=torch.float64)[:, None, None] * frequencies
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x_BT, y_BT, recurrent: bool):
        encoder, decoder = self.model_cfg.layer_order(recurrent)
        x = x0 = rms_norm(self.tok_emb(x_BT))
        skips = []
        for layer in encoder:
            x = self.blocks[layer](x, x0, self.cos, self.sin)
            skips.append(x)
        for skip_index, layer in enumerate(decoder):
            if skips:
                gate = torch.sigmoid(self.skip_gates[skip_index]).to(x.dtype)
                x = (1 - gate) * (self.skip_weights[skip_index].to(x.dtype) * skips.pop()) + gate * x
            x = self.blocks[layer](x, x0, self.cos, self.sin)
        logits = F.linear(rms_norm(x), self.tok_emb.weight.to(x.dtype)).float()
        logits = self.model_cfg.softcap * torch.tanh(logits / self.model_cfg.softcap)
        return F.cross_entropy(logits.flatten(0, 1), y_BT.flatten())


def apply_rope(x_BTHE, cos, sin):
    half, cos, sin = cos.size(-1), cos.to(x_BTHE.dtype), sin.to(x_BTHE.dtype)
    a, b, rest = x_BTHE[..., :half], x_BTHE[..., half : 2 * half], x_BTHE[..., 2 * half :]
    return torch.cat((a * cos + b * sin, -a * sin + b * cos, rest), -1)


class ReferenceStep:
    """The whole step of one rank: gradients in micro-batches, clipping, Muon and AdamW, one moving average.

    cfg: the train section of params.yaml. ``optimize`` is a method of its own, so that a trace can label its time.
    """

    def __init__(self, model_cfg, state_dict: dict, cfg, ctx):
        self.model, self.cfg, self.ctx = ReferenceGPT(model_cfg).to(ctx.device), cfg, ctx
        self.model.load_state_dict(state_dict)
        self.compiled_loss = ctx.maybe_compile(self.model)
        named_params = dict(self.model.named_parameters())
        self.parameters = list(named_params.values())
        self.matrices = [
            p for name, p in named_params.items() if name.startswith("blocks.") and name.endswith(".weight")
        ]
        scalars = [p for name, p in named_params.items() if not name.endswith(".weight")]
        self.momentum_buffers = [torch.zeros_like(p) for p in self.matrices]
        self.ema_params = [p.detach().clone() for p in self.parameters]
        groups = (
            SimpleNamespace(params=[self.model.tok_emb.weight], lr=cfg.embed_lr, weight_decay=cfg.embed_weight_decay),
            SimpleNamespace(params=scalars, lr=cfg.scalar_lr, weight_decay=cfg.scalar_weight_decay),
        )
        betas = cfg.beta1, cfg.beta2
        self.adam_optimizers = [
            torch.optim.AdamW([vars(group)], betas=betas, eps=cfg.eps, fused=True) for group in groups
        ]

    def step(self, batch, momentum: float, recurrent: bool) -> torch.Tensor:
        """(x, y) int64 [rows, T] -> mean nats per token before the step."""
        rows = self.cfg.micro_batch_tokens // batch[0].shape[1]
        micro_batches = list(zip(*(tokens.split(rows) for tokens in batch), strict=True))
        total = torch.zeros((), device=self.ctx.device)
        for x, y in micro_batches:
            with self.ctx.autocast():
                loss = self.compiled_loss(x, y, recurrent) / len(micro_batches)
            loss.backward()
            total += loss.detach()
        if self.cfg.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.cfg.grad_clip, foreach=False)
        self.optimize(momentum)
        for parameter in self.parameters:
            parameter.grad = None
        return total

    @torch.no_grad()
    def optimize(self, momentum: float) -> None:
        lr, weight_decay = self.cfg.muon_lr, self.cfg.muon_weight_decay
        for weight, buffer in zip(self.matrices, self.momentum_buffers, strict=True):
            buffer.mul_(momentum).add_(weight.grad)
            u = weight.grad.add(buffer, alpha=momentum)
            u = u / u.norm(dim=-1, keepdim=True).clamp_min(1e-7)
            update = newton_schulz(u, self.cfg.ns_steps) * max(1, weight.size(0) / weight.size(1)) ** 0.5
            weight.mul_(1 - lr * weight_decay).add_(update.to(weight.dtype), alpha=-lr)
        for adam in self.adam_optimizers:
            adam.step()
        ema_decay = self.cfg.ema_decays[0]
        for ema_param, parameter in zip(self.ema_params, self.parameters, strict=True):
            ema_param.mul_(ema_decay).add_(parameter, alpha=1 - ema_decay)


def newton_schulz(u_RC: torch.Tensor, steps: int) -> torch.Tensor:
    """Move the singular values to about 1, in bf16."""
    a, b, c = NS_COEFFICIENTS
    x = u_RC.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
