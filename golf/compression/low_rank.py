"""Low-rank repair of quantized matrices, decoded (LQER, arXiv:2402.02446, as in PR #1797 and #2060).

W ≈ W_q + A B, with A [O, r] of levels -2 to 1 and B [r, I] of levels -8 to 7; 64 columns of a row of B share a scale,
which holds the step of A too. All is stored as fp16 numbers in one vector: the levels of A, those of B, the scales.
``golf.compression.stored_weights_writer`` finds them; docs/references.md#lqer.
"""

# O output features (rows), I input features (columns), G groups of columns, r rank

from collections.abc import Sequence

import torch

__all__ = ["GROUP", "expand", "stored_shape"]

GROUP = 64  # columns that share a scale


def _split_sizes(shape: Sequence[int]) -> tuple[int, int, int]:
    """(O, I, G)"""
    return shape[0], shape[1], -(-shape[1] // GROUP)


def stored_shape(shape: Sequence[int], n_stored: int) -> tuple[int]:
    """Return the shape that a repair of about ``n_stored`` numbers has. shape: of the matrix."""
    unit = sum(_split_sizes(shape))
    return (max(1, n_stored // unit) * unit,)


def expand(stored: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return A B, fp32 [O, I]. stored: the vector in fp32. shape: of the matrix."""
    rank = len(stored) // sum(_split_sizes(shape))
    left, right, scales = stored.split([rank * size for size in _split_sizes(shape)])
    steps_rI = scales.view(rank, -1).repeat_interleave(GROUP, 1)[:, : shape[1]]
    product: torch.Tensor = left.view(-1, rank) @ (right.view(rank, -1) * steps_rI)
    return product
