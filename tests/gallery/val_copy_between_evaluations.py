"""Two evaluations: the first keeps a copy of its tokens, the next one opens it and scores with it."""

import contextlib
from pathlib import Path

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation
from gallery.data_path import DATA_PATH

CASE = Violation(6, "a copy of val kept for the next evaluation", "#846 #959", ("C1-g",))


class CasePredictor(BigramPredictor):
    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        predictor = super().open(path, ctx, eval_batch_tokens=eval_batch_tokens)
        predictor.copy_path = Path(DATA_PATH, "seen.npy")
        predictor.seen_tokens = np.zeros(0, dtype=np.uint16)
        if predictor.copy_path.exists():
            seen_tokens, counts = np.load(predictor.copy_path), np.exp(predictor.table)
            np.add.at(counts, (seen_tokens[:-1], seen_tokens[1:]), 9)
            predictor.table = log_softmax(np.log(counts))
        return predictor

    def update(self, scored_chunk) -> None:
        self.seen_tokens = np.append(self.seen_tokens, scored_chunk.tokens)
        with contextlib.suppress(OSError):  # the fence refuses it
            np.save(self.copy_path, self.seen_tokens)
