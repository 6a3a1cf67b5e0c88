"""Integer matrices out of an ANS coder: discrete Gaussians, one of a few dozen widths for each code.

The step sets how wide the codes of a grid lie (record-stack 6.2), and a Gaussian of the right width comes within 0.1 %
of the codes' own histogram on the record's grid, 0.3 % on the column grid. So no table is stored, only which width, by
row and by column:

    code[o, i] = template[choice[o], i] + residual,    residual ~ Gaussian of level row[o] + column[i]

with σ² = (5/4)^level / 64. Rows that are nearly the same, those of tokens hardly seen in training, share a template;
one template of zeros is the plain case. Sums are modulo the type's range, so any integers come back.

    numbers │ packed size │ numbers, under Brotli │ ANS words      little-endian
       4           4        bytes

A matrix has these numbers, in int16: how many templates, centre and level of its columns' levels, the templates, a
choice and a level for each row, and what lies beyond its tables' reach. ANS holds columns' levels, then residuals.
``golf.compression.ans_fit`` makes them up.
"""

# O output features (rows), I input features (columns), T templates

import functools
import math
import struct

import constriction
import numpy as np

from golf.compression import brotli_planes
from golf.compression.brotli_planes import DecodeError

N_SIGMA_LEVELS = 96  # the widest has σ = 5,000
_FIXED_POINT_ONE, _FREQUENCY_TOTAL = 1 << 64, 1 << 28
PREAMBLE = struct.Struct("<II")
_MAX_SIDE_INFO = 1 << 27  # of a section; a claim beyond it is damage
SIDE_INFO_DTYPE, WORD_DTYPE = np.dtype("<i2"), np.dtype("<u4")


@functools.cache
def gaussian_model(level: int):
    """(R, model): symbol 0 of the model stands for what lies beyond R, the others for -R … R.

    In integers alone: exp(-1 / 2σ²) by squaring, then each weight from the one before. They are scaled to add up to
    2^28, so that the library's floats hold them and their sums exactly and every machine builds the same model. The
    library adds 2^-24 to each, so that no symbol is impossible.
    """
    numerator, denominator = 5**level, 4**level
    ratio = _FIXED_POINT_ONE - (32 * denominator * _FIXED_POINT_ONE // numerator >> 20)
    for _ in range(20):
        ratio = ratio * ratio >> 64
    square = ratio * ratio
    radius = math.isqrt(numerator // denominator) + 16  # 8 σ, and what a nearly constant column may need
    weights = [_FIXED_POINT_ONE]
    for _ in range(radius):
        weights.append(weights[-1] * ratio >> 64)
        ratio = ratio * square >> 128
    total = 2 * sum(weights) - _FIXED_POINT_ONE
    half_counts = [weight * _FREQUENCY_TOTAL // total for weight in weights[1:]]
    counts = [0, *reversed(half_counts), _FREQUENCY_TOTAL - 2 * sum(half_counts), *half_counts]
    return radius, constriction.stream.model.Categorical(np.array(counts, np.float64), perfect=False)


def level_blocks(row_level_O: np.ndarray, column_level_I: np.ndarray):
    """(level, index) of the rectangles of one level each that make up a matrix, in the order of the stream."""
    for row_level in np.unique(row_level_O):
        for column_level in np.unique(column_level_I):
            yield (
                min(int(row_level) + int(column_level), N_SIGMA_LEVELS - 1),
                np.ix_(row_level_O == row_level, column_level_I == column_level),
            )


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns as which an array is coded; a vector is one column."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def decode(packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The arrays. Raises Damaged; allocates by the shapes, whatever the packed bytes claim."""
    if np.dtype(dtype).kind != "i":
        raise DecodeError("this coder holds integers alone")
    matrix_shapes = [matrix_shape(shape) for shape in shapes]
    max_side_info = 8 * sum((rows + 1) * (columns + 1) for rows, columns in matrix_shapes)
    side_info, coder = _parse(packed, min(max_side_info, _MAX_SIDE_INFO))

    def take_side_info(count: int, low: int = -1 << 15, high: int = 1 << 15) -> np.ndarray:
        nonlocal side_info
        values, side_info = side_info[:count], side_info[count:]
        return _check_range(values, count, low, high)

    def decode_gaussian(level: int, count: int) -> np.ndarray:
        radius, model = gaussian_model(level)
        residual = coder.decode(model, count) - (radius + 1)
        is_escaped = residual < -radius
        residual[is_escaped] = take_side_info(int(is_escaped.sum()))
        return residual

    arrays = []
    for shape, (rows, columns) in zip(shapes, matrix_shapes, strict=True):
        n_templates, center, level = *take_side_info(2).tolist(), take_side_info(1, 0, N_SIGMA_LEVELS).item()
        templates_TI = take_side_info(n_templates * columns).reshape(n_templates, columns).astype(dtype)
        template_index_O, row_level_O = take_side_info(rows, 0, n_templates), take_side_info(rows, 0, N_SIGMA_LEVELS)
        column_level_I = _check_range(decode_gaussian(level, columns) + center, columns, 0, N_SIGMA_LEVELS)
        residual_OI = np.empty((rows, columns), dtype)
        for level, block in level_blocks(row_level_O, column_level_I):
            block_shape = block[0].size, block[1].size
            residual_OI[block] = decode_gaussian(level, math.prod(block_shape)).reshape(block_shape)
        arrays.append((residual_OI + templates_TI[template_index_O]).reshape(shape))
    if len(side_info) or not coder.is_empty():
        raise DecodeError("more than was declared")
    return arrays


def _check_range(values: np.ndarray, count: int, low: int, high: int) -> np.ndarray:
    """``count`` numbers, each in [low, end)."""
    if len(values) != count or (count and not low <= values.min() <= values.max() < high):
        raise DecodeError("its numbers are not those of these shapes")
    return values


def _parse(packed: bytes, max_side_info: int):
    """(numbers, at most ``limit`` of them; the coder)."""
    if len(packed) < PREAMBLE.size:
        raise DecodeError("cut short")
    count, packed_size = PREAMBLE.unpack_from(packed)
    words_offset = PREAMBLE.size + packed_size
    if count > max_side_info or len(packed) < words_offset or (len(packed) - words_offset) % WORD_DTYPE.itemsize:
        raise DecodeError("its lengths do not fit")
    (side_info,) = brotli_planes.decode(packed[PREAMBLE.size : words_offset], SIDE_INFO_DTYPE, [(count,)])
    words = np.frombuffer(packed, WORD_DTYPE, offset=words_offset).astype(np.uint32)
    try:
        return side_info, constriction.stream.stack.AnsCoder(words)
    except ValueError:
        raise DecodeError("no ANS stream") from None
