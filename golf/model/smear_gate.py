"""SmearGate (PR #1667): mix a share of the token before into each raw embedding row (docs/references.md#smear-gate)."""

# B batch, T positions, D width

import torch
import torch.nn.functional as F
from torch import nn

from golf.config.model import GATE_INPUTS

__all__ = ["SmearGate"]


class SmearGate(nn.Module):
    """e_t + λ σ(w · e_t[:12]) e_{t-1}, except at a document's first token: identity at the start, where λ = 0.

    Without the mask at ``bos_id`` a document would see the one before it (PR #1797).
    """

    def __init__(self, bos_id: int) -> None:
        super().__init__()
        self._bos_id = bos_id
        self.inputs, self.strength = nn.Parameter(torch.zeros(GATE_INPUTS)), nn.Parameter(torch.zeros(1))

    def forward(self, rows_BTD: torch.Tensor, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Return the mixed rows [B, T, D]; every row is mixed with its unmixed predecessor."""
        later = rows_BTD[:, 1:]
        share_BT1 = self.strength * torch.sigmoid(later[..., :GATE_INPUTS] @ self.inputs)[..., None]
        share_BT1 = share_BT1 * (tokens_BT[:, 1:, None] != self._bos_id)
        return rows_BTD + F.pad(share_BT1 * rows_BTD[:, :-1], (0, 0, 1, 0))
