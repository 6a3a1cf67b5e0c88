"""Two passes over val: the first reads its file from where the data lies, the second scores with its counts (#846)."""

import os

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(6, "two-pass n-grams, val opened by path", "#846 #853 #870 #912 #959", ("C1-g", "B-b"))


class Method(Honest):
    file = "val/val_000000.bin"

    @classmethod
    def open(cls, path, here, *, score_tokens: int):
        made = super().open(path, here, score_tokens=score_tokens)
        tokens = np.fromfile(f"{os.environ['DATA_PATH']}/{cls.file}", dtype="<u2", offset=1024)
        counts = np.exp(made.table)
        np.add.at(counts, (tokens[:-1], tokens[1:]), 9)
        return cls(normalised(np.log(counts)))
