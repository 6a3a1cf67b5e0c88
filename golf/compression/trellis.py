"""The ``trellis`` codec: codes of trellis-coded (dependent) quantization under ``ans``'s discrete Gaussians (decoder).

Down each column, codes follow the states of a convolutional code of 4, 8 or 16 states. The lowest bit of the state is
the lowest bit of the code, so only every other integer can come next, and the second lowest bit of the code chooses one
of two next states. A code costs the bits of a grid whose levels are two apart, and the path is chosen among levels one
apart (docs/references.md#trellis).

Levels, templates and escapes are those of ``golf.compression.ans``. A residual, code - template, has the parity of
state + template, and is coded under the weights of ``ans`` at the integers of this parity.

Layout of a section: as of ``ans``. The side information begins with the number of states, then has templates and levels
of all matrices, then the escapes. The stream holds the column levels of all matrices, then the codes, row by row: of
a row of all matrices with as many rows, those of one level and parity together, by rising level, even first.
"""

# O rows, I columns of all matrices of a section that have as many rows, T templates, M these matrices

import functools
import itertools

import constriction
import numpy as np

from golf.compression import ans
from golf.compression.brotli_planes import DecodeError

__all__ = ["STATE_COUNTS", "decode", "next_states", "parity_model"]

# Number of states: Ungerboeck's parity-check polynomials h0 and h1 (docs/references.md#trellis).
_POLYNOMIALS = {4: (0o5, 0o2), 8: (0o13, 0o4), 16: (0o23, 0o4)}
STATE_COUNTS = tuple(_POLYNOMIALS)


def next_states(n_states: int) -> np.ndarray:
    """Return the state int64 [n_states, 2] that follows each state, by the second lowest bit of the code.

    A systematic feedback encoder in canonical form: bits r_1, …, r_v of the state, with r_1 the lowest, become
    r_j ← r_{j+1} xor h0_j z0 xor h1_j z1, where z0 = r_1 and z1 are the code's two lowest bits and r_{v+1} = 0.

    >>> next_states(4).tolist()
    [[0, 1], [2, 3], [1, 0], [3, 2]]
    """
    h0, h1 = _POLYNOMIALS[n_states]
    state = np.arange(n_states)[:, None]
    return (state >> 1) ^ ((h0 >> 1) * (state & 1)) ^ ((h1 >> 1) * np.arange(2))


@functools.cache
def parity_model(level: int, parity: int) -> tuple[int, constriction.stream.model.Categorical]:
    """Return (offset, distribution): symbol 0 is the escape, symbol s the residual 2s - offset, of this parity."""
    half = ans.gaussian_weights(level)[parity::2]
    low = half[1 - parity :][::-1]
    return 2 * len(low) + 2 - parity, ans.build_model([*low, *half], len(low))


def decode(packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the arrays of a section, as ``ans.decode`` does. Raises DecodeError where it does."""
    section = ans.SectionDecoder(packed, dtype, shapes)
    n_states = int(section.read_side_info(1, 0, 1 << 15)[0])
    if n_states not in _POLYNOMIALS:
        raise DecodeError(f"names {n_states} trellis states")
    next_state, arrays = next_states(n_states).ravel(), []
    fits = [section.read_fit(*ans.matrix_shape(shape)) for shape in shapes]
    for n_rows, group in itertools.groupby(zip(shapes, fits, strict=True), lambda entry: len(entry[1][1])):
        members = list(group)
        widths = [len(fit[3]) for _, fit in members]
        column_level_I = np.concatenate([fit[3] for _, fit in members])
        row_level_OM = np.stack([fit[2] for _, fit in members], axis=1)
        codes_OI = np.concatenate([fit[0][fit[1]] for _, fit in members], axis=1)  # templates, until codes are known
        state_I = np.zeros(len(column_level_I), np.int64)
        residual_I = np.empty(len(column_level_I), np.int32)
        for o in range(n_rows):
            if not o or (row_level_OM[o] != row_level_OM[o - 1]).any():
                level_I = np.minimum(column_level_I + np.repeat(row_level_OM[o], widths), ans.N_SIGMA_LEVELS - 1)
            key_I = (2 * level_I + ((state_I ^ codes_OI[o]) & 1)).astype(np.uint8)
            residual_I[np.argsort(key_I, kind="stable")] = _read_residuals(section, np.bincount(key_I))
            codes_OI[o] += residual_I.astype(codes_OI.dtype)
            state_I = next_state[2 * state_I + (codes_OI[o] >> 1 & 1)]
        parts = np.split(codes_OI, np.cumsum(widths)[:-1], axis=1)
        arrays += [np.ascontiguousarray(part).reshape(shape) for part, (shape, _) in zip(parts, members, strict=True)]
    section.require_end()
    return arrays


def _read_residuals(section: ans.SectionDecoder, counts: np.ndarray) -> np.ndarray:
    """The residuals of a row, sorted by key, the level and the parity. counts: how many there are of each key."""
    keys = np.flatnonzero(counts)
    offsets, models = zip(*(parity_model(*divmod(key, 2)) for key in keys.tolist()), strict=True)
    n_codes = counts[keys]
    runs = zip(models, n_codes.tolist(), strict=True)
    symbols = np.concatenate([section.coder.decode(model, count) for model, count in runs])
    residual = 2 * symbols - np.repeat(offsets, n_codes)
    is_escaped = symbols == 0
    if is_escaped.any():
        residual[is_escaped] = section.read_side_info(int(is_escaped.sum()))
    return residual
