"""Two residual lanes: attention reads one, the MLP the other, and both write into both (PRs #1529 and #1530).

See docs/references.md#two-lanes.
"""

# B batch, S positions, D width

import torch
from torch import nn

__all__ = ["LaneMix"]

_RESIDUAL_SCALE = 1.1  # of each lane at the start


class LaneMix(nn.Module):
    """lane_j' = r_j lane_j + p_0j a + p_1j m, with a and m the scaled outputs of attention and MLP.

    ``residual`` holds r [2], 1.1 at the start; ``posts`` holds p [2, 2], ones at the start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.residual, self.posts = nn.Parameter(torch.full((2,), _RESIDUAL_SCALE)), nn.Parameter(torch.ones(2, 2))

    def forward(
        self, lane0_BSD: torch.Tensor, lane1_BSD: torch.Tensor, attn_out_BSD: torch.Tensor, mlp_out_BSD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both lanes after the block: [B, S, D] each."""
        r, p = self.residual.to(lane0_BSD.dtype), self.posts.to(lane0_BSD.dtype)
        return (
            r[0] * lane0_BSD + p[0, 0] * attn_out_BSD + p[1, 0] * mlp_out_BSD,
            r[1] * lane1_BSD + p[0, 1] * attn_out_BSD + p[1, 1] * mlp_out_BSD,
        )
