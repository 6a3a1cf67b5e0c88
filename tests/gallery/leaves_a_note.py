"""Two passes in one evaluation: the first leaves val's tokens in a file of its room, the next ones score with them."""

from pathlib import Path

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(6, "two-pass n-grams, a file left for the next pass", "#846 #959", ("C3-c",))
NOTE = Path("seen.npy")


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        self.counts = np.exp(self.table)
        self.seen = np.zeros(0, dtype=np.uint16)
        if NOTE.exists():
            seen = np.load(NOTE)
            np.add.at(self.counts, (seen[:-1], seen[1:]), 9)

    def expect(self, prefix, chunk):
        return normalised(np.log(self.counts[np.append(prefix[-1:], chunk[:-1])]))

    def update(self, sealed) -> None:
        self.seen = np.append(self.seen, sealed.tokens)
        np.save(NOTE, self.seen)
