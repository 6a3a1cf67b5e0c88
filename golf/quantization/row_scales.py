"""The record's grid: a step for each row, codes of few bits, each class of tensors with its own.

SDClip (record-stack 1.5; PR #1394) sets ``step = k * std(row) / R`` with ``R = 2^(bits-1) - 1`` the largest code.
Almost nothing is clipped at the usual k; k sets the step, and with it the entropy of the codes.
"""

# O output features (rows), I input features (columns)

import torch

from golf.compression.quantized_tensor import EMBEDDING_WEIGHT


def code_bits(name: str, cfg) -> int:
    """Of a quantised tensor's codes on the row grid. plan: sections.Quantize, of which the bits by class."""
    return cfg.embed_bits if name == EMBEDDING_WEIGHT else cfg.matrix_bits


def max_code(bits: int) -> int:
    """R: codes lie in [-R, R].

    >>> largest(6), largest(8)
    (31, 127)
    """
    return 2 ** (bits - 1) - 1


def sdclip_scales(w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    """steps_O fp16: clip standard deviations of a row fall on the largest code.

    A row without spread (constant, all zero, one column) has its mean on the largest code instead, and the smallest
    step of fp16 where that is zero too: a step is never zero. inf when a row is beyond fp16; GPTQ refuses it.
    """
    w_OI = w_OI.float()
    std_O = w_OI.std(dim=1) if w_OI.shape[1] > 1 else torch.zeros(w_OI.shape[0])
    clip_value_O = torch.maximum(clip * std_O, w_OI.mean(dim=1).abs())
    return (clip_value_O / max_code(bits)).half().clamp_min(torch.finfo(torch.float16).smallest_normal * 2**-10)


def round_to_nearest(w_OI: torch.Tensor, row_scales_O: torch.Tensor, bits: int) -> torch.Tensor:
    """codes_OI int8: every weight rounded for itself, what GPTQ is measured against."""
    code_limit = max_code(bits)
    return (w_OI / row_scales_O.float()[:, None]).round().clamp(-code_limit, code_limit).to(torch.int8)
