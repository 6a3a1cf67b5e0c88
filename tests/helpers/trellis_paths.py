"""Codes that follow a trellis: each the nearest allowed one to a Gaussian."""

import numpy as np

from golf.compression import trellis


def draw_path(
    rng: np.random.Generator, n_states: int, shape: tuple[int, int], spread: float, dtype: str, *, mean: float = 0
) -> np.ndarray:
    """Codes [O, I] of ``dtype`` whose columns follow the trellis, near Gaussians of this spread, within its range."""
    transitions, low, high = trellis.next_states(n_states), np.iinfo(dtype).min, np.iinfo(dtype).max
    state_I, codes_OI = np.zeros(shape[1], np.int64), np.empty(shape, np.int64)
    for row in range(shape[0]):
        target_I = (mean + rng.normal(0, spread, shape[1])).clip(low + 2, high - 2)
        codes_OI[row] = 2 * np.rint((target_I - (state_I & 1)) / 2).astype(np.int64) + (state_I & 1)
        state_I = transitions[state_I, codes_OI[row] >> 1 & 1]
    return codes_OI.astype(dtype)
