"""Causal SLOT: the bias is fitted to scored context alone; nobody has ruled on it, and it says what it is (#1336)."""

import numpy as np

from gallery.bias import learned
from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(4, "causal SLOT", "#1217 #1306 #1333 #1336 #1350", ("U-b",), status="UNRULED")
BLOCK, CONTEXT = 64, 128


class Method(Honest):
    disputed = ("causal SLOT",)

    def expect(self, prefix, chunk):
        text = np.append(prefix, chunk)
        expected = super().expect(prefix, chunk).astype(np.float64)
        blocks = np.arange(len(prefix), len(text)) // BLOCK
        for block in np.unique(blocks):
            expected[blocks == block] += self.fitted(text[max(0, block * BLOCK - CONTEXT) : block * BLOCK])
        return normalised(expected)

    def fitted(self, context: np.ndarray) -> np.ndarray:
        nothing = np.zeros(len(self.table))
        return learned(nothing, self.table[context[:-1]], context[1:]) if len(context) > 1 else nothing
