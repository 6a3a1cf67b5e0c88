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
``golf.codec.fit`` makes them up.
"""

# O output features (rows), I input features (columns), T templates

import functools
import math
import struct

import constriction
import numpy as np

from golf.codec import planes
from golf.codec.planes import Damaged

LEVELS = 96  # the widest has σ = 5,000
ONE, TOTAL = 1 << 64, 1 << 28
START = struct.Struct("<II")
NUMBERS_LIMIT = 1 << 27  # of a section; a claim beyond it is damage
NUMBERS, WORDS = np.dtype("<i2"), np.dtype("<u4")


@functools.cache
def table(level: int):
    """(R, model): symbol 0 of the model stands for what lies beyond R, the others for -R … R.

    In integers alone: exp(-1 / 2σ²) by squaring, then each weight from the one before. They are scaled to add up to
    2^28, so that the library's floats hold them and their sums exactly and every machine builds the same model. The
    library adds 2^-24 to each, so that no symbol is impossible.
    """
    wide, narrow = 5**level, 4**level
    ratio = ONE - (32 * narrow * ONE // wide >> 20)
    for _ in range(20):
        ratio = ratio * ratio >> 64
    square = ratio * ratio
    reach = math.isqrt(wide // narrow) + 16  # 8 σ, and what a nearly constant column may need
    weights = [ONE]
    for _ in range(reach):
        weights.append(weights[-1] * ratio >> 64)
        ratio = ratio * square >> 128
    total = 2 * sum(weights) - ONE
    side = [weight * TOTAL // total for weight in weights[1:]]
    counts = [0, *reversed(side), TOTAL - 2 * sum(side), *side]
    return reach, constriction.stream.model.Categorical(np.array(counts, np.float64), perfect=False)


def blocks(row_O: np.ndarray, column_I: np.ndarray):
    """(level, index) of the rectangles of one level each that make up a matrix, in the order of the stream."""
    for row in np.unique(row_O):
        for column in np.unique(column_I):
            yield min(int(row) + int(column), LEVELS - 1), np.ix_(row_O == row, column_I == column)


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns as which an array is coded; a vector is one column."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def decode(packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The arrays. Raises Damaged; allocates by the shapes, whatever the packed bytes claim."""
    if np.dtype(dtype).kind != "i":
        raise Damaged("this coder holds integers alone")
    sizes = [matrix(shape) for shape in shapes]
    limit = 8 * sum((rows + 1) * (columns + 1) for rows, columns in sizes)
    numbers, coder = opened(packed, min(limit, NUMBERS_LIMIT))

    def take(count: int, low: int = -1 << 15, end: int = 1 << 15) -> np.ndarray:
        nonlocal numbers
        taken, numbers = numbers[:count], numbers[count:]
        return checked(taken, count, low, end)

    def draw(level: int, count: int) -> np.ndarray:
        reach, model = table(level)
        residual = coder.decode(model, count) - (reach + 1)
        beyond = residual < -reach
        residual[beyond] = take(int(beyond.sum()))
        return residual

    arrays = []
    for shape, (rows, columns) in zip(shapes, sizes, strict=True):
        count, centre, level = *take(2).tolist(), take(1, 0, LEVELS).item()
        templates_TI = take(count * columns).reshape(count, columns).astype(dtype)
        choice_O, row_O = take(rows, 0, count), take(rows, 0, LEVELS)
        column_I = checked(draw(level, columns) + centre, columns, 0, LEVELS)
        residual_OI = np.empty((rows, columns), dtype)
        for level, block in blocks(row_O, column_I):
            size = block[0].size, block[1].size
            residual_OI[block] = draw(level, math.prod(size)).reshape(size)
        arrays.append((residual_OI + templates_TI[choice_O]).reshape(shape))
    if len(numbers) or not coder.is_empty():
        raise Damaged("more than was declared")
    return arrays


def checked(numbers: np.ndarray, count: int, low: int, end: int) -> np.ndarray:
    """``count`` numbers, each in [low, end)."""
    if len(numbers) != count or (count and not low <= numbers.min() <= numbers.max() < end):
        raise Damaged("its numbers are not those of these shapes")
    return numbers


def opened(packed: bytes, limit: int):
    """(numbers, at most ``limit`` of them; the coder)."""
    if len(packed) < START.size:
        raise Damaged("cut short")
    count, size = START.unpack_from(packed)
    middle = START.size + size
    if count > limit or len(packed) < middle or (len(packed) - middle) % WORDS.itemsize:
        raise Damaged("its lengths do not fit")
    (numbers,) = planes.decode(packed[START.size : middle], NUMBERS, [(count,)])
    words = np.frombuffer(packed, WORDS, offset=middle).astype(np.uint32)
    try:
        return numbers, constriction.stream.stack.AnsCoder(words)
    except ValueError:
        raise Damaged("no ANS stream") from None
