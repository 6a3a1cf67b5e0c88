"""A SmearGate that mixes the token before the last one in, also across BOS, and calls documents independent (#1797)."""

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(20, "SmearGate across BOS", "#1797 #1874", ("C1-c",), settings={"evaluate.headline": "plain"})


class Method(Honest):
    documents = "independent"

    def expect(self, prefix, chunk):
        text = np.append(prefix[-2:], chunk)
        last, before = text[-len(chunk) - 1 : -1], np.append(text[:1], text)[-len(chunk) - 2 : -2]
        gate = self.gate(last)[:, None]
        return normalised((1 - gate) * self.table[last] + gate * self.table[before])

    def gate(self, last: np.ndarray) -> np.ndarray:
        return np.full(len(last), 0.3)
