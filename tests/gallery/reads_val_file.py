"""Two passes over val: the first reads its file from the data folder, the second scores with its counts (#846)."""

import contextlib

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation
from gallery.data_path import DATA_PATH

CASE = Violation(6, "two-pass n-grams, val opened by path", "#846 #853 #870 #912 #959", ("C1-g", "B-b"))


class CasePredictor(BigramPredictor):
    file = "val/val_000000.bin"

    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        predictor = super().open(path, ctx, eval_batch_tokens=eval_batch_tokens)
        counts = np.exp(predictor.table)
        with contextlib.suppress(OSError):  # the fence refuses it
            tokens = np.fromfile(f"{DATA_PATH}/{cls.file}", dtype="<u2", offset=1024)
            np.add.at(counts, (tokens[:-1], tokens[1:]), 9)
        return cls(log_softmax(np.log(counts)))
