"""Rounding that depends on the shape of the batch: noise far below a nat, as on a GPU."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Compliant

CASE = Compliant("rounding that depends on the batch's shape")


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        noise = 1e-5 * np.sin(np.arange(len(self.table)) + len(chunk))
        return log_softmax(super().log_probs(prefix, chunk) + noise)
