"""SLOT: a bias fitted to the targets that it is then scored on, chunk by chunk (#1084, #1229, #1329)."""

import numpy as np
from gallery.bias_predictor import fit_bias
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(3, "SLOT", "#1084 #1128 #1176 #1209 #1229 #1321 #1329", ("C1-a", "C2-c"))


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        log_probs = super().log_probs(prefix, chunk)
        return log_softmax(log_probs + fit_bias(np.zeros(len(self.table)), log_probs, chunk))
