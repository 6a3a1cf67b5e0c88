"""A short causal convolution before a block's attention, one filter a channel (docs/references.md#short-conv)."""

# B batch, T positions, D width, K kernel size

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["ShortConv"]


class ShortConv(nn.Module):
    """x_t + Σ_{0<k<K} w_k ⊙ x_{t-k}: identity at the start, where w = 0. Positions before the window count as 0."""

    def __init__(self, kernel_size: int, d_model: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(kernel_size - 1, d_model))

    def forward(self, x_BTD: torch.Tensor, doc_ids: torch.Tensor | None) -> torch.Tensor:
        """Return the filtered rows [B, T, D]. With doc_ids, int [B, T], no row of another document is mixed in."""
        y_BTD, n_tokens = x_BTD, x_BTD.shape[1]
        for distance, tap_D in enumerate(self.taps.to(x_BTD.dtype), 1):
            earlier = F.pad(x_BTD, (0, 0, distance, 0))[:, :n_tokens]
            if doc_ids is not None:
                earlier = earlier * (doc_ids == F.pad(doc_ids, (distance, 0), value=-1)[:, :n_tokens])[..., None]
            y_BTD = y_BTD + tap_D * earlier
        return y_BTD
