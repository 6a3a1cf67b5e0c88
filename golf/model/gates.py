"""A gate on the output of each attention head, computed from the attention's own input.

``dense`` reads all dimensions and starts at σ(2.94) = 0.95; ``sparse`` (PR #1787) reads the first 12 and starts at 0.5;
``output`` (PR #1667) is twice the sigmoid of the first 12 and starts at 1. docs/references.md#attention-gates has their
origins.
"""

# B batch, S positions, D width, H query heads

import torch
import torch.nn.functional as F
from torch import nn

from golf.config.model import GATE_INPUTS, ModelConfig

__all__ = ["AttentionGate"]

_DENSE_BIAS = 2.94  # σ(2.94) = 0.95


class AttentionGate(nn.Module):
    """scale · σ(W n + b), with W = 0 at the start: [B, S, D] -> [B, S, H, 1].

    ``dense`` holds W as ``proj.weight``, which Muon fits, and b. The other two have no b; AdamW fits their W, which
    stays fp16 in the artifact.
    """

    def __init__(self, model_cfg: ModelConfig) -> None:
        super().__init__()
        self.scale = 2.0 if model_cfg.attn_gate == "output" else 1.0
        self.is_dense = model_cfg.attn_gate == "dense"
        if self.is_dense:
            self.proj = nn.Linear(model_cfg.d_model, model_cfg.n_heads)
            nn.init.zeros_(self.proj.weight)
            nn.init.constant_(self.proj.bias, _DENSE_BIAS)
        else:
            self.narrow = nn.Parameter(torch.zeros(model_cfg.n_heads, GATE_INPUTS))

    def forward(self, n_BSD: torch.Tensor) -> torch.Tensor:
        """Return the gate in fp32, or in float64 for float64."""
        z = self.proj(n_BSD) if self.is_dense else F.linear(n_BSD[..., :GATE_INPUTS], self.narrow.to(n_BSD.dtype))
        return self.scale * torch.sigmoid(z.to(torch.promote_types(z.dtype, torch.float32)))[..., None]
