"""The record's grid (PRs #1394, #1493): one scale per row by SDClip, codes of few bits.

row_scale = k · std(row) / R, with R = 2^(bits - 1) - 1 the largest code. At the record's k hardly any weight is
clipped; k sets the step, and so the entropy of the codes (docs/references.md#sdclip).
"""

# O output features (rows), I input features (columns)

import torch

from golf.compression.quantized_tensor import EMBEDDING_WEIGHT
from golf.config.sections import QuantizeConfig

__all__ = ["compute_max_code", "compute_sdclip_scales", "get_code_bits", "round_to_nearest"]


def get_code_bits(name: str, cfg: QuantizeConfig) -> int:
    """Return the bits of a quantized tensor's codes on the row grid."""
    return cfg.embed_bits if name == EMBEDDING_WEIGHT else cfg.matrix_bits


def compute_max_code(bits: int) -> int:
    """Return R: codes lie in [-R, R].

    >>> compute_max_code(6), compute_max_code(8)
    (31, 127)
    """
    return 2 ** (bits - 1) - 1


def compute_sdclip_scales(w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    """Return the row scales fp16 [O] under which ``clip`` standard deviations of a row reach the largest code.

    A row without spread (constant, or of one column) gets the scale that puts its mean on the largest code. A scale is
    at least fp16's smallest positive number. It is inf for a row beyond fp16, which ``solver`` refuses.
    """
    w_OI = w_OI.float()
    std_O = w_OI.std(dim=1) if w_OI.shape[1] > 1 else torch.zeros(w_OI.shape[0])
    clip_value_O = torch.maximum(clip * std_O, w_OI.mean(dim=1).abs())
    return (clip_value_O / compute_max_code(bits)).half().clamp_min(torch.finfo(torch.float16).smallest_normal * 2**-10)


def round_to_nearest(w_OI: torch.Tensor, row_scales_O: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the codes int8 [O, I], each weight rounded by itself: the baseline of GPTQ."""
    code_limit = compute_max_code(bits)
    return (w_OI / row_scales_O.float()[:, None]).round().clamp(-code_limit, code_limit).to(torch.int8)
