"""Forecast the bytes of the packed model, from the entropy of Gaussian weights on the recipe's grid."""

import itertools
import math
from dataclasses import dataclass

from golf.config.sections import CompressConfig, QuantizeConfig
from golf.quantization import param_kinds, row_scales

__all__ = ["SizeForecast", "estimate_gaussian_code_bits", "predict_size"]

_CODER_OVERHEAD = {"brotli": 1.012, "ans": 1.0}  # over the order-0 entropy: PR #1493's file, benchmarks/codec.py
_FP16_BYTES = 1.9  # of a packed fp16 number, whose low bits are noise
_HEADER_BYTES = 600  # of the file of the committed run
_MAX_CODE_BITS = 12.0  # of the finest grid that rate control tries
_N_SCALE_SIDES = {"row": 1, "row_column": 2}  # sides of a matrix that have scales


@dataclass(frozen=True)
class SizeForecast:
    """payload_bytes: of model.golf. reason: what decides it. code_bits: mean over the quantized weights."""

    payload_bytes: int
    code_bits: float
    reason: str


def estimate_gaussian_code_bits(step: float) -> float:
    """Return the entropy in bits of a standard normal variable rounded to multiples of ``step``, which is positive.

    For small steps it nears log2(sqrt(2 π e) / step).

    >>> round(estimate_gaussian_code_bits(0.4145), 2)
    3.32
    """
    if step < 0.05:
        return math.log2(math.sqrt(2 * math.pi * math.e) / step)
    largest = math.ceil(9 / step)
    edges = [math.erf((index - 0.5) * step / math.sqrt(2)) / 2 for index in range(-largest, largest + 2)]
    masses = [high - low for low, high in itertools.pairwise(edges)]
    return -sum(mass * math.log2(mass) for mass in masses if mass > 0)


def predict_size(
    shapes: dict[str, tuple[int, ...]], quantize: QuantizeConfig, compress: CompressConfig
) -> SizeForecast:
    """Return the forecast for a model whose parameters have ``shapes``.

    With quantize.base_step null on the row_column grid the step is chosen so that the file fills the limit; otherwise
    the size follows from the step in standard deviations.
    """
    code_bits, n_weights, other_bytes = 0.0, 0, float(_HEADER_BYTES)
    fills_limit = quantize.grid == "row_column" and quantize.base_step is None
    for name, shape in shapes.items():
        kind = param_kinds.get_param_kind(name, shape, quantize.min_weights)
        size = math.prod(shape)
        if kind == "small":
            other_bytes += _FP16_BYTES * size
            continue
        n_weights += size
        other_bytes += _FP16_BYTES * (sum(shape) if _N_SCALE_SIDES[quantize.grid] == 2 else shape[0])
        code_bits += size * (
            _MAX_CODE_BITS if fills_limit else estimate_gaussian_code_bits(_find_step(name, kind, quantize))
        )
    predicted = round(code_bits / 8 * _CODER_OVERHEAD[compress.codec] + other_bytes)
    mean_bits = code_bits / max(1, n_weights)
    if not fills_limit:
        return SizeForecast(predicted, mean_bits, f"entropy of Gaussian weights on the {quantize.grid} grid")
    budget = compress.limit_bytes - compress.code_reserve_bytes
    if predicted <= budget:
        return SizeForecast(predicted, mean_bits, f"finest grid, {_MAX_CODE_BITS:g} bits per weight; limit not filled")
    bits = max(0.0, 8 * (budget - other_bytes) / _CODER_OVERHEAD[compress.codec] / max(1, n_weights))
    return SizeForecast(budget, bits, "the base step is chosen so that the file fills the limit")


def _find_step(name: str, kind: str, quantize: QuantizeConfig) -> float:
    """The step of a tensor's codes in its standard deviations."""
    if quantize.base_step is not None:
        return quantize.base_step
    clip = quantize.embed_clip if kind == "embed" else quantize.matrix_clip
    return clip / row_scales.compute_max_code(row_scales.get_code_bits(name, quantize))
