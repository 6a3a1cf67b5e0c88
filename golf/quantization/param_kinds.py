"""Kinds of parameters: which tensors are quantized, and which stay in fp16."""

from typing import Literal

import torch

from golf.compression.quantized_tensor import EMBEDDING_WEIGHT

__all__ = ["ParamKind", "get_param_kind"]

ParamKind = Literal["matrix", "embed", "small"]


def get_param_kind(name: str, shape: torch.Size | tuple[int, ...], min_weights: int) -> ParamKind:
    """Return embed for the tied embedding, matrix for a block's matrix of over ``min_weights`` weights, else small.

    embed and matrix are quantized, each with bits and clip of its own on the row grid; small stays fp16.
    """
    if name == EMBEDDING_WEIGHT:
        return "embed"
    is_large_matrix = len(shape) == 2 and shape[0] * shape[1] > min_weights
    return "matrix" if is_large_matrix and name.startswith("blocks.") and name.endswith(".weight") else "small"
