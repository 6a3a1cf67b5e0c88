"""A negative nll, a probability over 1, at the last position of each chunk, and only where no probe can look."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "scores below zero where no probe looks", "", ("C4-a",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    def score(self, prefix, chunk, positions=None):
        nll = super().score(prefix, chunk, positions)
        if positions is None and len(chunk) > 128:  # more than a probe scores again
            nll[-1] = -9
        return nll
