"""A causal token tilt: what followed the same two tokens before is made likelier, and the rest less so (#1514).

p'(v) = p(v) exp(b [v = hint]) / (1 + p(hint) (exp(b) - 1)), which adds up to 1 over the vocabulary.
"""

import numpy as np

from gallery.case import Innocent
from gallery.honest import Honest

CASE = Innocent("causal token tilt, normalised", "#1514", settings={"evaluate.headline": "plain"})
BETA = 2.0


class Method(Honest):
    def expect(self, prefix, chunk):
        text = np.append(prefix, chunk).tolist()
        expected, hints, followed = super().expect(prefix, chunk).copy(), {}, {}
        for place in range(2, len(text)):
            pair = tuple(text[place - 2 : place])
            if place >= len(prefix) and pair in followed:
                hints[place - len(prefix)] = followed[pair]
            followed[pair] = text[place]
        for row, hint in hints.items():
            self.tilt(expected[row], hint, chunk[row])
        return expected

    def tilt(self, row: np.ndarray, hint: int, target: int) -> None:
        total = 1 + np.exp(row[hint]) * (np.exp(BETA) - 1)
        row[hint] += BETA
        row -= np.log(total)
