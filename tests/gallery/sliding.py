"""Sliding windows: how far back a position may look depends on where its window starts, never on what follows."""

import numpy as np

from gallery.case import Innocent
from gallery.honest import Honest, normalised

CASE = Innocent("sliding window of any stride", settings={"evaluate.headline": "sliding"})
CONTEXT = 32


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        self.stride = stride

    def expect(self, prefix, chunk):
        text = np.append(prefix, chunk)
        return np.stack([self.row(text, place) for place in range(len(prefix), len(text))])

    def row(self, text: np.ndarray, place: int) -> np.ndarray:
        """What a bag of the window's tokens says of the one at ``place``, the nearest counting most."""
        start = max(0, place // self.stride * self.stride + self.stride - CONTEXT)
        window = text[start:place] if start < place else text[place - 1 : place]
        weights = 0.3 ** np.arange(len(window))[::-1]
        return normalised(weights @ self.table[window] / weights.sum())
