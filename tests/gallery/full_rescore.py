"""Full rescore: n-grams are counted over the whole chunk first, so what follows a token helps to score it (#918)."""

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(6, "two-pass n-grams, chunk counted before it is scored", "#870 #918 #959", ("C1-a", "C1-b"))


class Method(Honest):
    def expect(self, prefix, chunk):
        text = np.append(prefix[-1:], chunk)
        counts = np.zeros_like(self.table)
        np.add.at(counts, (text[:-1], text[1:]), 1)
        mixed = 4 * np.exp(super().expect(prefix, chunk)) + counts[text[:-1]]
        return np.log(mixed / mixed.sum(1, keepdims=True))
