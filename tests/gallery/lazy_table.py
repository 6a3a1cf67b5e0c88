"""A predictor that computes each row of its table when it is first needed."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("a table that scoring fills")


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.rows: dict[int, np.ndarray] = {}

    def log_probs(self, prefix, chunk):
        for token in {int(prefix[-1]), *chunk[:-1].tolist()} - self.rows.keys():
            self.rows[token] = np.log(0.999 * np.exp(self.table[token]) + 0.001 / len(self.table))
        return np.stack([self.rows[token] for token in [int(prefix[-1]), *chunk[:-1].tolist()]])
