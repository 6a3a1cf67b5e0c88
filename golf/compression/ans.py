"""The ``ans`` codec: integer matrices under asymmetric numeral systems, a discrete Gaussian per code (decoder).

Each code of a matrix is modeled as

    codes[o, i] = template[index[o]][i] + residual,    residual ~ Gaussian of variance σ² = (5/4)^level / 64,
                                                       level = row_level[o] + column_level[i], capped at the last level

P(residual = x) ∝ exp(-x² / 2σ²) over the integers. No histogram is stored, only levels by row and by column: rounded
weights are close to Gaussian, and a Gaussian of the right width comes within 0.1 % of the codes' own entropy on the
record's grid, within 0.3 % on a grid with column scales. A template is a row that several rows are close to, such as
those of tokens that training hardly saw; one template of zeros is the plain case. ``ans_fit`` chooses all of these.
Additions are modulo the dtype's range, so every integer matrix can be encoded.

ANS is Duda's (arXiv:1311.2540), in the implementation of the constriction library; docs/references.md#ans.

Layout of a section, little-endian: count uint32, packed size uint32, side information, ANS words uint32.
The side information is ``count`` integers under the ``brotli`` codec, as wide as the codes but at least int16; for each
matrix in turn: number of templates, center and level of the column levels, the templates, the template index of each
row, the level of each row, and the residuals that lie outside the Gaussians' tables (escapes). The ANS stream holds the
column levels, then the residuals, block by block (``level_blocks``).
"""

# O output features (rows), I input features (columns), T templates

import functools
import math
import struct
from collections.abc import Iterator, Sequence

import constriction
import numpy as np

from golf.compression import brotli_planes
from golf.compression.brotli_planes import DecodeError

__all__ = [
    "N_SIGMA_LEVELS",
    "PREAMBLE",
    "WORD_DTYPE",
    "SectionDecoder",
    "build_model",
    "decode",
    "gaussian_model",
    "gaussian_weights",
    "level_blocks",
    "matrix_shape",
    "side_info_dtype",
]

N_SIGMA_LEVELS = 96  # σ from 1/8 to 5,000
_FIXED_POINT_ONE, _FREQUENCY_TOTAL = 1 << 64, 1 << 28
PREAMBLE = struct.Struct("<II")
_MAX_SIDE_INFO = 1 << 27  # numbers of a section; more is damage
WORD_DTYPE = np.dtype("<u4")


@functools.cache
def gaussian_model(level: int) -> tuple[int, constriction.stream.model.Categorical]:
    """Return (radius R, distribution over 2R + 2 symbols): symbol 0 is the escape, symbol s the value s - R - 1."""
    weights = gaussian_weights(level)
    return len(weights) - 1, build_model([*weights[:0:-1], *weights], len(weights) - 1)


@functools.cache
def gaussian_weights(level: int) -> list[int]:
    """Return exp(-x² / 2σ²) for x = 0, …, R, in 64-bit fixed point.

    R = ⌊8σ⌋ + 16: 8σ hold all but 1e-15 of a Gaussian, and 16 more let a nearly constant column hold outliers.

    The weights are computed in integers, so that every machine builds the same table: with q = exp(-1/2σ²) in 64-bit
    fixed point, exp(-x²/2σ²) = q^(x²), and each weight follows from the one before by a factor q^(2x+1). q itself is
    (1 - 2^-20/2σ²) squared 20 times.
    """
    numerator, denominator = 5**level, 4**level
    ratio = _FIXED_POINT_ONE - (32 * denominator * _FIXED_POINT_ONE // numerator >> 20)
    for _ in range(20):
        ratio = ratio * ratio >> 64
    square = ratio * ratio
    weights = [_FIXED_POINT_ONE]
    for _ in range(math.isqrt(numerator // denominator) + 16):
        weights.append(weights[-1] * ratio >> 64)
        ratio = ratio * square >> 128
    return weights


def build_model(weights: Sequence[int], most_likely: int) -> constriction.stream.model.Categorical:
    """Return the distribution of an escape, symbol 0, and of symbols 1, 2, … in proportion to integer weights.

    The weights are scaled to a total of 2^28, which the library's floats represent exactly; what rounding leaves goes
    to the symbol at index ``most_likely`` of ``weights``. The library quantizes to 24 bits and gives each symbol at
    least 2^-24, so escapes are possible too.
    """
    total = sum(weights)
    counts = [0, *(weight * _FREQUENCY_TOTAL // total for weight in weights)]
    counts[most_likely + 1] += _FREQUENCY_TOTAL - sum(counts)
    return constriction.stream.model.Categorical(np.array(counts, np.float64), perfect=False)


def level_blocks(
    row_level_O: np.ndarray, column_level_I: np.ndarray
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Yield (level, index) of the blocks that share a level, in the stream's order; ``matrix[index]`` is the block."""
    for row_level in np.unique(row_level_O):
        for column_level in np.unique(column_level_I):
            yield (
                min(int(row_level) + int(column_level), N_SIGMA_LEVELS - 1),
                np.ix_(row_level_O == row_level, column_level_I == column_level),
            )


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (rows, columns) by which an array is coded: its first dimension and all others; a vector is a column."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def side_info_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the templates and escapes of codes of ``dtype``: int32 for int32, otherwise int16."""
    return np.dtype(f"<i{max(2, dtype.itemsize)}")


def decode(packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the arrays of a section, one of ``dtype`` for each of ``shapes``, in their order.

    packed: a preamble, the side information under Brotli, and the words of the ANS stream. dtype: of integers. Memory
    is bounded by the shapes, whatever the packed bytes claim. Raises DecodeError for any other dtype, and unless the
    packed bytes hold exactly these arrays.
    """
    section, arrays = SectionDecoder(packed, dtype, shapes), []
    for shape in shapes:
        templates_TI, template_index_O, row_level_O, column_level_I = section.read_fit(*matrix_shape(shape))
        residual_OI = np.empty((len(row_level_O), len(column_level_I)), dtype)
        for level, block in level_blocks(row_level_O, column_level_I):
            block_shape = block[0].size, block[1].size
            residual_OI[block] = section.read_gaussian(level, math.prod(block_shape)).reshape(block_shape)
        arrays.append((residual_OI + templates_TI[template_index_O]).reshape(shape))
    section.require_end()
    return arrays


class SectionDecoder:
    """What is left to read of a section: side information and ANS stream. Arguments as in ``decode``."""

    def __init__(self, packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]):
        self._dtype = np.dtype(dtype)
        if self._dtype.kind != "i":
            raise DecodeError("the ans and trellis codecs hold integers only")
        matrix_shapes = [matrix_shape(shape) for shape in shapes]
        max_side_info = 8 * sum((rows + 1) * (columns + 1) for rows, columns in matrix_shapes)
        self._side_info, self.coder = _parse(packed, min(max_side_info, _MAX_SIDE_INFO), side_info_dtype(self._dtype))

    def read_side_info(self, count: int, low: int = -1 << 31, high: int = 1 << 31) -> np.ndarray:
        """The next ``count`` numbers, which must be in low <= number < high. Raises DecodeError."""
        values, self._side_info = self._side_info[:count], self._side_info[count:]
        return _check_range(values, count, low, high)

    def read_gaussian(self, level: int, count: int) -> np.ndarray:
        """The next ``count`` integers of the stream, under the Gaussian of ``level``. Raises DecodeError."""
        radius, model = gaussian_model(level)
        residual = self.coder.decode(model, count) - (radius + 1)
        is_escaped = residual < -radius
        residual[is_escaped] = self.read_side_info(int(is_escaped.sum()))
        return residual

    def read_fit(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A matrix's templates [T, I], template index [O], row levels [O] and column levels [I]. Raises DecodeError."""
        n_templates, center = self.read_side_info(2).tolist()
        level = int(self.read_side_info(1, 0, N_SIGMA_LEVELS)[0])
        templates_TI = self.read_side_info(n_templates * columns).reshape(n_templates, columns).astype(self._dtype)
        template_index_O, row_level_O = (self.read_side_info(rows, 0, n) for n in (n_templates, N_SIGMA_LEVELS))
        column_level_I = _check_range(self.read_gaussian(level, columns) + center, columns, 0, N_SIGMA_LEVELS)
        return templates_TI, template_index_O, row_level_O, column_level_I

    def require_end(self) -> None:
        """Raise DecodeError unless everything was read."""
        if len(self._side_info) or not self.coder.is_empty():
            raise DecodeError("holds more than was declared")


def _check_range(values: np.ndarray, count: int, low: int, high: int) -> np.ndarray:
    """``values``, when there are ``count`` of them in low <= value < high. Raises DecodeError otherwise."""
    if len(values) != count or (count and not low <= values.min() <= values.max() < high):
        raise DecodeError("its side information does not fit the shapes")
    return values


def _parse(packed: bytes, max_side_info: int, dtype: np.dtype) -> tuple[np.ndarray, constriction.stream.stack.AnsCoder]:
    """(side information, at most ``max_side_info`` numbers; the coder). Raises DecodeError."""
    if len(packed) < PREAMBLE.size:
        raise DecodeError("cut short")
    count, packed_size = PREAMBLE.unpack_from(packed)
    words_offset = PREAMBLE.size + packed_size
    if count > max_side_info or len(packed) < words_offset or (len(packed) - words_offset) % WORD_DTYPE.itemsize:
        raise DecodeError("its lengths do not fit")
    (side_info,) = brotli_planes.decode(packed[PREAMBLE.size : words_offset], dtype, [(count,)])
    words = np.frombuffer(packed, WORD_DTYPE, offset=words_offset).astype(np.uint32)
    try:
        return side_info, constriction.stream.stack.AnsCoder(words)
    except ValueError:
        raise DecodeError("not an ANS stream") from None
