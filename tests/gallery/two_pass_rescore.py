"""Full rescore: n-grams are counted over the whole chunk first, so later tokens help to score earlier ones (#918)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(6, "two-pass n-grams, chunk counted before it is scored", "#870 #918 #959", ("C1-a", "C2-c"))


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix[-1:], chunk)
        counts = np.zeros_like(self.table)
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
        mixed_probs = 4 * np.exp(super().log_probs(prefix, chunk)) + counts[tokens[:-1]]
        return np.log(mixed_probs / mixed_probs.sum(1, keepdims=True))
