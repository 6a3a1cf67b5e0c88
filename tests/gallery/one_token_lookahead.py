"""Counts within the chunk, one token too far: the count at a position includes the token that stands there."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(0, "adaptation within the chunk that looks ahead by one token", "", ("C1-a",))


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        is_seen = np.cumsum(np.eye(self.table.shape[1])[chunk], axis=0)
        return log_softmax(super().log_probs(prefix, chunk) + np.log1p(is_seen))
