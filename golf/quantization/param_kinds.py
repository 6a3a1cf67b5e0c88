"""Classes of tensors: what is quantised, and what stays as it is."""

from typing import Literal

import torch

from golf.compression.quantized_tensor import EMBEDDING_WEIGHT

ParamKind = Literal["matrix", "embed", "small"]


def param_kind(name: str, shape: torch.Size | tuple[int, ...], min_weights: int) -> ParamKind:
    """The class of a tensor: the tied embedding, a block's matrix of more than ``min_weights`` weights, or small.

    embed and matrix are quantised, each with its own bits and clip; small stays fp16.
    """
    if name == EMBEDDING_WEIGHT:
        return "embed"
    is_large_matrix = len(shape) == 2 and shape[0] * shape[1] > min_weights
    return "matrix" if is_large_matrix and name.startswith("blocks.") and name.endswith(".weight") else "small"
