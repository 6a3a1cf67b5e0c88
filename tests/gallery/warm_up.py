"""A warm-up that steps the optimiser and puts the weights back, but not all that it moved (#1530)."""

import numpy as np

from gallery.bias import Biased, learned
from gallery.case import Cheat

CASE = Cheat(21, "warm-up that leaves a trace", "#1530", ("C3-d",))


class Method(Biased):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        super().begin(stride=stride, plan=plan, chunks=chunks)
        made_up = np.random.default_rng().integers(len(self.table), size=64)
        self.momentum = learned(self.bias, self.table[made_up[:-1]], made_up[1:])
