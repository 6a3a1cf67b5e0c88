"""Quantized weight matrices: integer codes with one scale per row, or one per row and one per column.

w[o, i] = codes[o, i] * row_scales[o] * col_scales[i]. The record's grid (PR #1493) has no column scales.
``golf.quantization.row_scales`` and ``golf.quantization.column_scales`` choose the scales; only this module ships.
"""

# O output features (rows), I input features (columns)

from dataclasses import dataclass

import torch

__all__ = [
    "CODES_SUFFIX",
    "COL_SCALES_SUFFIX",
    "EMBEDDING_WEIGHT",
    "ROW_SCALES_SUFFIX",
    "QuantizedTensor",
    "dequantize",
    "dequantize_state_dict",
]

EMBEDDING_WEIGHT = "tok_emb.weight"
CODES_SUFFIX, ROW_SCALES_SUFFIX, COL_SCALES_SUFFIX = ".codes", ".row_scales", ".col_scales"  # of stored tensors' names


@dataclass(frozen=True)
class QuantizedTensor:
    """codes: int8, int16 or int32 [O, I]. row_scales: fp16 [O]. col_scales: fp16 [I]; None stands for ones."""

    codes: torch.Tensor
    row_scales: torch.Tensor
    col_scales: torch.Tensor | None = None


def dequantize(quantized: QuantizedTensor) -> torch.Tensor:
    """Return w fp32 [O, I], bit for bit the weights that the predictor computes with."""
    w_OI = quantized.codes.float() * quantized.row_scales.float()[:, None]
    return w_OI if quantized.col_scales is None else w_OI * quantized.col_scales.float()


def dequantize_state_dict(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the model's fp32 state dict from tensors as stored (``golf.quantization.codes_io.to_storage``).

    Raises KeyError for codes without row scales.
    """
    state_dict = {}
    for name, tensor in stored.items():
        if name.endswith(CODES_SUFFIX):
            name = name.removesuffix(CODES_SUFFIX)
            state_dict[name] = dequantize(
                QuantizedTensor(tensor, stored[name + ROW_SCALES_SUFFIX], stored.get(name + COL_SCALES_SUFFIX))
            )
        elif not name.endswith((ROW_SCALES_SUFFIX, COL_SCALES_SUFFIX)):
            state_dict[name] = tensor.float()
    return state_dict
