"""Score, train, score again: a new pass starts with what the one before has learned (#991)."""

import numpy as np

from gallery.bias import Biased
from gallery.case import Cheat

CASE = Cheat(2, "score, train, rescore", "#462 #991", ("C3-c",))


class Method(Biased):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        self.bias, self.learns = getattr(self, "bias", np.zeros(len(self.table))), plan is not None
