"""Two evaluations: the first keeps a copy of what it was given, the next one opens it and scores with it."""

import os
from pathlib import Path

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(6, "a copy of val kept for the next evaluation", "#846 #959", ("C1-g",))


class Method(Honest):
    @classmethod
    def open(cls, path, here, *, score_tokens: int):
        made = super().open(path, here, score_tokens=score_tokens)
        made.copy, made.seen = Path(os.environ["DATA_PATH"], "seen.npy"), np.zeros(0, dtype=np.uint16)
        if made.copy.exists():
            seen, counts = np.load(made.copy), np.exp(made.table)
            np.add.at(counts, (seen[:-1], seen[1:]), 9)
            made.table = normalised(np.log(counts))
        return made

    def update(self, sealed) -> None:
        self.seen = np.append(self.seen, sealed.tokens)
        np.save(self.copy, self.seen)
