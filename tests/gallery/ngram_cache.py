"""An n-gram cache of scored text, mixed in over the whole vocabulary: allowed on track B (#1017)."""

import numpy as np

from gallery.case import Innocent
from gallery.honest import Honest

CASE = Innocent("n-gram cache of scored text, normalised", "#1017")


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        self.counts = np.zeros_like(self.table)
        self.learns = plan is not None

    def expect(self, prefix, chunk):
        counts = self.counts[np.append(prefix[-1:], chunk[:-1])]
        total = counts.sum(1, keepdims=True)
        return np.log((8 * np.exp(super().expect(prefix, chunk)) + counts) / (8 + total))

    def update(self, sealed) -> None:
        if self.learns:
            np.add.at(self.counts, (sealed.tokens[:-1], sealed.tokens[1:]), 1)
