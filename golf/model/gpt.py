"""The GPT of PR #1493 (docs/references.md#base-recipe), with one forward path for training, scoring and adaptation.

B batch, T positions, S trailing positions with an output, D width, H query heads, G key/value heads, E head width,
V vocabulary
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from golf.config.model import ModelConfig
from golf.model.attention import get_attention
from golf.model.fused_cross_entropy import FusedLinearCrossEntropy, matmul_dtype

__all__ = ["GPT", "apply_rope", "exclusive_self_attention", "rms_norm", "rope_tables"]


class _Attention(nn.Module):
    """Causal grouped-query attention: normalized queries and keys, partial RoPE, a gain per head, XSA and a gate."""

    def __init__(self, model_cfg: ModelConfig, use_xsa: bool, backend: str) -> None:
        super().__init__()
        self._head_dim, self._use_xsa, self.attention_fn = model_cfg.head_dim, use_xsa, get_attention(backend)
        kv_dim = model_cfg.n_kv_heads * model_cfg.head_dim
        self.c_q = nn.Linear(model_cfg.d_model, model_cfg.d_model, bias=False)
        self.c_k = nn.Linear(model_cfg.d_model, kv_dim, bias=False)
        self.c_v = nn.Linear(model_cfg.d_model, kv_dim, bias=False)
        self.proj = nn.Linear(model_cfg.d_model, model_cfg.d_model, bias=False)
        self.q_gain = nn.Parameter(torch.full((model_cfg.n_heads,), model_cfg.qk_gain))
        self.gate: nn.Module | None = None
        if model_cfg.attn_gate != "none":
            from golf.model.gates import AttentionGate

            self.gate = AttentionGate(model_cfg)

    def forward(
        self,
        n_BTD: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        doc_ids: torch.Tensor | None,
        last_n: int,
    ) -> torch.Tensor:
        """Return the projected output of the heads for the last ``last_n`` positions: [B, last_n, D]."""
        batch, n_tokens, d_model = n_BTD.shape
        q = self.c_q(n_BTD[:, n_tokens - last_n :]).view(batch, last_n, -1, self._head_dim)
        k = self.c_k(n_BTD).view(batch, n_tokens, -1, self._head_dim)
        v = self.c_v(n_BTD).view(batch, n_tokens, -1, self._head_dim)
        q = apply_rope(rms_norm(q), rope, n_tokens - last_n, n_tokens) * self.q_gain.to(q.dtype)[:, None]
        k = apply_rope(rms_norm(k), rope, 0, n_tokens)
        y = self.attention_fn(q.to(v.dtype), k.to(v.dtype), v, doc_ids)
        if self._use_xsa:
            y = exclusive_self_attention(y, v[:, n_tokens - last_n :])
        if self.gate is not None:
            y = y * self.gate(n_BTD[:, n_tokens - last_n :]).to(y.dtype)
        return self.proj(y.reshape(batch, last_n, d_model))


class _MLP(nn.Module):
    """proj(LeakyReLU(fc(x))²), from PR #493 (docs/references.md#leaky-relu2)."""

    def __init__(self, model_cfg: ModelConfig) -> None:
        super().__init__()
        self._leaky_slope = model_cfg.leaky_slope
        self.fc = nn.Linear(model_cfg.d_model, model_cfg.d_ff, bias=False)
        self.proj = nn.Linear(model_cfg.d_ff, model_cfg.d_model, bias=False)

    def forward(self, n_BTD: torch.Tensor) -> torch.Tensor:
        return self.proj(F.leaky_relu(self.fc(n_BTD), self._leaky_slope).square())


class _Block(nn.Module):
    """Mixes in the embedding, then runs attention and MLP in sequence, on one input (parallel), or on two lanes."""

    def __init__(self, model_cfg: ModelConfig, layer: int, backend: str) -> None:
        super().__init__()
        self._depth_scale = 1 / math.sqrt(
            layer + 1
        )  # of the physical layer, so every pass of a recurrent layer has the same
        self.is_parallel = layer >= model_cfg.parallel_residual_from
        self.attn = _Attention(model_cfg, layer >= model_cfg.xsa_from, backend)
        self.mlp = _MLP(model_cfg)
        self.attn_scale = nn.Parameter(torch.ones(model_cfg.d_model))
        self.mlp_scale = nn.Parameter(torch.ones(model_cfg.d_model))
        self.resid_mix = nn.Parameter(torch.stack([torch.ones(model_cfg.d_model), torch.zeros(model_cfg.d_model)]))
        self.conv: nn.Module | None = None
        if model_cfg.conv_kernel > 1:
            from golf.model.short_conv import ShortConv

            self.conv = ShortConv(model_cfg.conv_kernel, model_cfg.d_model)
        self.lanes: nn.Module | None = None
        if model_cfg.two_lane_from is not None and layer >= model_cfg.two_lane_from:
            from golf.model.residual_lanes import LaneMix

            self.lanes = LaneMix()

    def forward(
        self,
        x_BTD: torch.Tensor,
        x0_BTD: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        doc_ids: torch.Tensor | None,
        last_n: int,
        lane1_BTD: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the block's output and the second lane for the last ``last_n`` positions.

        x0_BTD is the normalized embedding, lane1_BTD the lane that the MLP reads in a block with two lanes.
        """
        mix, start = self.resid_mix.to(x_BTD.dtype), x_BTD.shape[1] - last_n
        x = mix[0] * x_BTD + mix[1] * x0_BTD
        normed = rms_norm(x) * self._depth_scale
        if self.conv is not None:
            normed = self.conv(normed, doc_ids)
        attn_out = self.attn_scale.to(x.dtype) * self.attn(normed, rope, doc_ids, last_n)
        if self.lanes is not None and lane1_BTD is not None:
            lane1 = lane1_BTD[:, start:]
            mlp_out = self.mlp_scale.to(x.dtype) * self.mlp(rms_norm(lane1) * self._depth_scale)
            return self.lanes(x_BTD[:, start:], lane1, attn_out, mlp_out)
        x, normed = x[:, start:], normed[:, start:]
        if self.is_parallel:
            return x + attn_out + self.mlp_scale.to(x.dtype) * self.mlp(normed), None
        x = x + attn_out
        return x + self.mlp_scale.to(x.dtype) * self.mlp(rms_norm(x) * self._depth_scale), None


class GPT(nn.Module):
    """Tied embedding, U-Net skips with sigmoid gates, depth recurrence and soft-capped logits. Weights are fp32."""

    def __init__(self, model_cfg: ModelConfig, attention: str = "sdpa") -> None:
        super().__init__()
        self.cfg = model_cfg
        self.tok_emb = nn.Embedding(model_cfg.vocab_size, model_cfg.d_model)
        self.blocks = nn.ModuleList(_Block(model_cfg, layer, attention) for layer in range(model_cfg.n_layers))
        self.skip_weights = nn.Parameter(torch.ones(model_cfg.n_skips, model_cfg.d_model))
        self.skip_gates = nn.Parameter(torch.zeros(model_cfg.n_skips, model_cfg.d_model))
        self.smear: nn.Module | None = None
        if model_cfg.smear_gate_bos_id is not None:
            from golf.model.smear_gate import SmearGate

            self.smear = SmearGate(model_cfg.smear_gate_bos_id)
        if model_cfg.asym_softcap:
            self.softcaps = nn.Parameter(torch.full((2,), model_cfg.softcap))  # of positive and of negative logits
        # adds to the logits: golf.inference.lora sets it
        self.head_adapter: Callable[[torch.Tensor], torch.Tensor] | None = None
        cos, sin = rope_tables(model_cfg)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> "GPT":
        """Initialize in place: embedding N(0, embed_std), matrices orthogonal, each block's output projections zero."""
        self.tok_emb.weight.normal_(0, self.cfg.embed_std, generator=generator)
        for block in self.blocks:
            for linear in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.mlp.fc):
                nn.init.orthogonal_(linear.weight, generator=generator)
            for linear in (block.attn.proj, block.mlp.proj):
                linear.weight.zero_()
        return self

    def forward(self, tokens_BT: torch.Tensor, *, recurrent: bool, last_n: int | None = None) -> torch.Tensor:
        """Return the normalized output of the last ``last_n`` positions (None: all): [B, S, D].

        ``recurrent`` activates depth recurrence. ``last_n`` saves work in the last block and after it; earlier blocks
        need every position, because later attention reads them.
        """
        n_tokens = tokens_BT.shape[1]
        rope = self.rope_cos[:n_tokens], self.rope_sin[:n_tokens]
        bos_id = self.cfg.doc_mask_bos_id
        doc_ids = None if bos_id is None else (tokens_BT == bos_id).cumsum(1)
        encoder, decoder = self.cfg.layer_order(recurrent)
        rows_BTD = self.tok_emb(tokens_BT)
        if self.smear is not None:
            rows_BTD = self.smear(rows_BTD, tokens_BT)
        x = x0 = rms_norm(rows_BTD).to(matmul_dtype(tokens_BT.device, self.tok_emb.weight.dtype))
        skips, lane1 = [], None
        for layer in encoder:
            x, _ = self.blocks[layer](x, x0, rope, doc_ids, n_tokens, None)
            skips.append(x)
        for position, layer in enumerate(decoder):
            if skips:
                gate = torch.sigmoid(self.skip_gates[position]).to(x.dtype)
                x = torch.lerp(self.skip_weights[position].to(x.dtype) * skips.pop(), x, gate)
            is_last = position == len(decoder) - 1
            if layer == self.cfg.two_lane_from:  # the lanes are equal here; skips go into the first alone
                lane1 = x
            x, lane1 = self.blocks[layer](x, x0, rope, doc_ids, last_n if is_last and last_n else n_tokens, lane1)
        return rms_norm(x if lane1 is None else (x + lane1) / 2)

    def get_softcap(self, logits_BSV: torch.Tensor) -> float | torch.Tensor:
        """Return the cap c of each logit: the one of the configuration, or that of the logit's sign."""
        if not self.cfg.asym_softcap:
            return self.cfg.softcap
        return torch.where(logits_BSV >= 0, self.softcaps[0], self.softcaps[1])

    def logits(self, hidden_BSD: torch.Tensor) -> torch.Tensor:
        """Return the soft-capped logits c tanh(z / c) in fp32: [B, S, V]."""
        z = F.linear(hidden_BSD, self.tok_emb.weight.to(hidden_BSD.dtype)).float()
        if self.head_adapter is not None:
            z = z + self.head_adapter(hidden_BSD).float()
        softcap = self.get_softcap(z)
        return softcap * torch.tanh(z / softcap)

    def nll(self, tokens_BT: torch.Tensor, targets_BS: torch.Tensor, *, recurrent: bool) -> torch.Tensor:
        """Return the nats of each target, fp32 [B, S]. The targets belong to the last S positions."""
        logits = self.logits(self(tokens_BT, recurrent=recurrent, last_n=targets_BS.shape[1]))
        nll_flat = F.cross_entropy(logits.flatten(0, 1), targets_BS.flatten(), reduction="none")
        return nll_flat.view_as(targets_BS)

    def nll_sum(
        self, tokens_BT: torch.Tensor, targets_BT: torch.Tensor, *, recurrent: bool, fit_softcaps: bool = True
    ) -> torch.Tensor:
        """Return the loss to learn from, the sum of nats in fp32, without holding the logits of all positions at once.

        With ``asym_softcap`` and ``fit_softcaps``, the caps learn too, and all logits are held. Training keeps one cap.
        """
        return self.hidden_nll_sum(self(tokens_BT, recurrent=recurrent), targets_BT, fit_softcaps=fit_softcaps)

    def hidden_nll_sum(
        self, hidden_BTD: torch.Tensor, targets_BT: torch.Tensor, *, fit_softcaps: bool = True
    ) -> torch.Tensor:
        """``nll_sum`` from the normalized output of all positions."""
        if self.cfg.asym_softcap and fit_softcaps:
            return F.cross_entropy(self.logits(hidden_BTD).flatten(0, 1), targets_BT.flatten(), reduction="sum")
        hidden, weight = hidden_BTD.flatten(0, 1), self.tok_emb.weight
        dtype = matmul_dtype(hidden.device, hidden.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            return FusedLinearCrossEntropy.apply(hidden, weight, targets_BT.flatten(), self.cfg.softcap, dtype)


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    """Normalize the last dimension to a root mean square of 1, without a weight."""
    return F.rms_norm(x, x.shape[-1:])


def rope_tables(model_cfg: ModelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cos and sin of t · base^(-2j / dims) for j < dims / 2, with dims = rope_dims: fp32 [T, dims / 2] each."""
    inv_freqs = model_cfg.rope_base ** (
        -torch.arange(0, model_cfg.rope_dims, 2, dtype=torch.float64) / max(1, model_cfg.rope_dims)
    )
    angles = torch.arange(model_cfg.context_length, dtype=torch.float64)[:, None] * inv_freqs
    return angles.cos().float(), angles.sin().float()


def apply_rope(x_BTHE: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor], start: int, stop: int) -> torch.Tensor:
    """Rotate dimension pairs (j, j + rope_dims / 2) of positions start to stop; the other dimensions stay."""
    cos, sin = (table[start:stop, None].to(x_BTHE.dtype) for table in rope)
    half = cos.shape[-1]
    a, b, rest = x_BTHE.split([half, half, x_BTHE.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin, rest], dim=-1)


def exclusive_self_attention(y_BSHE: torch.Tensor, v_BSGE: torch.Tensor) -> torch.Tensor:
    """Remove from each head's output its component along its own position's value: y - (y·v̂) v̂ (XSA)."""
    batch, n_tokens, n_heads, head_dim = y_BSHE.shape
    unit = F.normalize(v_BSGE, dim=-1)[:, :, :, None]
    grouped = y_BSHE.view(batch, n_tokens, v_BSGE.shape[2], -1, head_dim)
    return (grouped - (grouped * unit).sum(-1, keepdim=True) * unit).reshape(batch, n_tokens, n_heads, head_dim)
