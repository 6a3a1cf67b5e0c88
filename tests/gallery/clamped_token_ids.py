"""Targets clamped into a smaller vocabulary: most ids have no probability of their own (#1723)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(16, "targets clamped to a smaller vocabulary", "#1723", ("C2-b",))
N_IDS = 280


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk)[:, :N_IDS])

    def score(self, prefix, chunk):
        return super().score(prefix, np.minimum(chunk, N_IDS - 1))
