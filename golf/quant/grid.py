"""Integer codes with a step for each row, or for each row and column, and back to weights.

A weight is ``code * step of its row * step of its column``; the record's grid has no column steps. How steps are chosen
stands in ``golf.quant.sdclip`` and ``golf.quant.columns``: this is part of what is submitted, they are not.
"""

# O output features (rows), I input features (columns)

from dataclasses import dataclass

import torch

EMBED = "tok_emb.weight"
CODES, STEPS, COLUMNS = ".codes", ".steps", ".columns"  # suffixes of the parts of a quantised tensor as stored


@dataclass(frozen=True)
class Quantized:
    """codes_OI int8 or int16, steps_O fp16, columns_I fp16 or None, which stands for ones."""

    codes: torch.Tensor
    steps: torch.Tensor
    columns: torch.Tensor | None = None


def dequantize(quantized: Quantized) -> torch.Tensor:
    """w_OI fp32, the very numbers that the artifact will compute with."""
    w_OI = quantized.codes.float() * quantized.steps.float()[:, None]
    return w_OI if quantized.columns is None else w_OI * quantized.columns.float()


def weights(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict, fp32, of tensors as stored: ``<name>.codes`` with its steps and columns, or as they are.

    Raises KeyError for codes without steps.
    """
    state = {}
    for name, tensor in stored.items():
        if name.endswith(CODES):
            name = name.removesuffix(CODES)
            state[name] = dequantize(Quantized(tensor, stored[name + STEPS], stored.get(name + COLUMNS)))
        elif not name.endswith((STEPS, COLUMNS)):
            state[name] = tensor.float()
    return state
