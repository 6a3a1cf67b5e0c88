"""Integer codes with a step for each row, or for each row and column, and back to weights.

A weight is ``code * step of its row * step of its column``; the record's grid has no column steps. How steps are chosen
stands in ``golf.quantization.row_scales`` and ``golf.quantization.column_scales``: this is part of what is submitted, they are not.
"""

# O output features (rows), I input features (columns)

from dataclasses import dataclass

import torch

EMBEDDING_WEIGHT = "tok_emb.weight"
CODES_SUFFIX, ROW_SCALES_SUFFIX, COL_SCALES_SUFFIX = (
    ".codes",
    ".steps",
    ".columns",
)  # suffixes of the parts of a quantised tensor as stored


@dataclass(frozen=True)
class QuantizedTensor:
    """codes_OI int8 or int16, steps_O fp16, columns_I fp16 or None, which stands for ones."""

    codes: torch.Tensor
    row_scales: torch.Tensor
    col_scales: torch.Tensor | None = None


def dequantize(quantized: QuantizedTensor) -> torch.Tensor:
    """w_OI fp32, the very numbers that the artifact will compute with."""
    w_OI = quantized.codes.float() * quantized.row_scales.float()[:, None]
    return w_OI if quantized.col_scales is None else w_OI * quantized.col_scales.float()


def dequantize_state_dict(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict, fp32, of tensors as stored: ``<name>.codes`` with its steps and columns, or as they are.

    Raises KeyError for codes without steps.
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
