"""Encode codes of trellis-coded quantization, for ``golf.compression.trellis``. Not part of what is submitted."""

# O rows, I columns of all matrices of a section that have as many rows, R their codes in stream order, K keys

import itertools
from typing import Any

import numpy as np

from golf.compression import ans, trellis
from golf.compression.ans_fit import MatrixFit, fit_center_and_level, fit_codes

__all__ = ["NotOnTrellisError", "encode", "fit_side_info", "follow_states"]


class NotOnTrellisError(ValueError):
    """Codes that no path of the trellis has."""


def encode(arrays: list[np.ndarray], n_states: int) -> tuple[list[Any], list[tuple[np.ndarray, Any]]]:
    """Return (parts of the side information, runs of (symbols, model) in the order in which they are decoded).

    arrays: non-empty, of integers. Raises NotOnTrellisError for codes that do not follow the trellis.
    """
    side_info: list[Any] = [[n_states]]
    runs: list[tuple[np.ndarray, Any]] = []
    escapes: list[Any] = []
    matrices = [array.reshape(ans.matrix_shape(array.shape)) for array in arrays]
    fits = [fit_codes(codes_OI, parity_known=True) for codes_OI in matrices]
    for fit in fits:
        side_info += fit_side_info(fit)
        values = fit.column_level_I - fit_center_and_level(fit.column_level_I)[0]
        radius, model = ans.gaussian_model(fit_center_and_level(fit.column_level_I)[1])
        is_escaped = np.abs(values) > radius
        side_info.append(values[is_escaped])
        runs.append((np.where(is_escaped, 0, values + radius + 1).astype(np.int32), model))
    for _, group in itertools.groupby(zip(matrices, fits, strict=True), lambda entry: len(entry[0])):
        members = list(group)
        codes_OI = np.concatenate([codes for codes, _ in members], axis=1)
        template_OI = np.concatenate([fit.templates_TI[fit.template_index_O] for _, fit in members], axis=1)
        level_OI = np.concatenate([fit.row_level_O[:, None] + fit.column_level_I for _, fit in members], axis=1)
        state_OI = follow_states(codes_OI, n_states)
        parity_OI = (state_OI ^ template_OI) & 1
        key_OI = (2 * np.minimum(level_OI, ans.N_SIGMA_LEVELS - 1) + parity_OI).astype(np.uint8)
        residual_OI = (codes_OI - template_OI).astype(np.int64)
        order_OI = np.argsort(key_OI, axis=1, kind="stable")
        key_R, residual_R = (np.take_along_axis(matrix, order_OI, axis=1).ravel() for matrix in (key_OI, residual_OI))
        models = {key: trellis.parity_model(*divmod(key, 2)) for key in np.unique(key_R).tolist()}
        offset_K = np.zeros(2 * ans.N_SIGMA_LEVELS, np.int64)
        for key, (offset, _) in models.items():
            offset_K[key] = offset
        is_escaped_R = np.abs(residual_R) > offset_K[key_R] - 2 + (key_R & 1)
        escapes.append(residual_R[is_escaped_R])
        symbol_R = np.where(is_escaped_R, 0, (residual_R + offset_K[key_R]) >> 1).astype(np.int32)
        is_start_R = np.diff(key_R, prepend=255) != 0
        is_start_R[:: codes_OI.shape[1]] = True
        for start, end in itertools.pairwise([*np.flatnonzero(is_start_R).tolist(), len(key_R)]):
            runs.append((symbol_R[start:end], models[int(key_R[start])][1]))
    return [*side_info, *escapes], runs


def fit_side_info(fit: MatrixFit) -> list[Any]:
    """The parts of the side information that describe a fit."""
    return [
        [len(fit.templates_TI), *fit_center_and_level(fit.column_level_I)],
        fit.templates_TI.ravel(),
        fit.template_index_O,
        fit.row_level_O,
    ]


def follow_states(codes_OI: np.ndarray, n_states: int) -> np.ndarray:
    """Return the state int64 [O, I] before each code. Raises NotOnTrellisError when the codes follow no path."""
    transitions = trellis.next_states(n_states)
    low_bits_OI = (codes_OI & 3).astype(np.int64)
    state_OI = np.zeros(codes_OI.shape, np.int64)
    for row in range(len(codes_OI) - 1):
        state_OI[row + 1] = transitions[state_OI[row], low_bits_OI[row] >> 1]
    if ((state_OI ^ low_bits_OI) & 1).any():
        raise NotOnTrellisError(f"not codes of a trellis of {n_states} states")
    return state_OI
