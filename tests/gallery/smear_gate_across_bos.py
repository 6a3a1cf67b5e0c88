"""A SmearGate that mixes in the previous token across BOS too, and declares documents independent (#1797)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(20, "SmearGate across BOS", "#1797 #1874", ("C1-c",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    documents = "independent"

    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix[-2:], chunk)
        last, previous = tokens[-len(chunk) - 1 : -1], np.append(tokens[:1], tokens)[-len(chunk) - 2 : -2]
        gate = self.gate(last)[:, None]
        return log_softmax((1 - gate) * self.table[last] + gate * self.table[previous])

    def gate(self, last: np.ndarray) -> np.ndarray:
        return np.full(len(last), 0.3)
