"""A predictor that is merely slow."""

import time

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("a predictor that is merely slow")


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        time.sleep(0.01)
        return super().log_probs(prefix, chunk)
