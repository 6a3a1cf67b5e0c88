"""Integer codes with a step for each row, or for each row and column, and back to weights.

A weight is ``code * step of its row * step of its column``; the record's grid (``row_sdclip``) has no column steps.
There the row step is set by SDClip (record-stack 1.5; PR #1394): ``s_row = k * std(row) / R`` with
``R = 2^(bits-1) - 1`` the largest code. Almost nothing is clipped at the usual k; k sets the step, and with it the
entropy of the codes. How the steps of the other grid are chosen stands in ``golf.quant.columns``.

Part of what is submitted, so the solvers stay outside.
"""

# O output features (rows), I input features (columns)

from dataclasses import dataclass
from typing import Literal

import torch

EMBED = "tok_emb.weight"
CODES, STEPS, COLUMNS = ".codes", ".steps", ".columns"  # suffixes of the parts of a quantised tensor as stored
Kind = Literal["matrix", "embed", "small"]


@dataclass(frozen=True)
class Quantized:
    """codes_OI int8 or int16, steps_O fp16, columns_I fp16 or None, which stands for ones."""

    codes: torch.Tensor
    steps: torch.Tensor
    columns: torch.Tensor | None = None


def kind(name: str, shape: torch.Size | tuple[int, ...], min_weights: int) -> Kind:
    """The class of a tensor: the tied embedding, a block's matrix of more than ``min_weights`` weights, or small.

    embed and matrix are quantised, each with its own bits and clip; small stays fp16.
    """
    if name == EMBED:
        return "embed"
    large = len(shape) == 2 and shape[0] * shape[1] > min_weights
    return "matrix" if large and name.startswith("blocks.") and name.endswith(".weight") else "small"


def bits_of(name: str, plan) -> int:
    """Of a quantised tensor's codes on the row grid. plan: params.Quantize, of which the bits by class."""
    return plan.embed_bits if name == EMBED else plan.matrix_bits


def largest(bits: int) -> int:
    """R: codes lie in [-R, R].

    >>> largest(6), largest(8)
    (31, 127)
    """
    return 2 ** (bits - 1) - 1


def sdclip(w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    """steps_O fp16: clip standard deviations of a row fall on the largest code.

    A row without spread (constant, all zero, one column) has its mean on the largest code instead, and the smallest
    step of fp16 where that is zero too: a step is never zero. inf when a row is beyond fp16; GPTQ refuses it.
    """
    w_OI = w_OI.float()
    std_O = w_OI.std(dim=1) if w_OI.shape[1] > 1 else torch.zeros(w_OI.shape[0])
    reach_O = torch.maximum(clip * std_O, w_OI.mean(dim=1).abs())
    return (reach_O / largest(bits)).half().clamp_min(torch.finfo(torch.float16).smallest_normal * 2**-10)


def nearest(w_OI: torch.Tensor, steps_O: torch.Tensor, bits: int) -> torch.Tensor:
    """codes_OI int8: every weight rounded for itself, what GPTQ is measured against."""
    limit = largest(bits)
    return (w_OI / steps_O.float()[:, None]).round().clamp(-limit, limit).to(torch.int8)


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
