"""A negative nll, a probability over 1, at the last position of each chunk, which the proof may miss."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "a score below zero in each chunk", "", ("C4-a",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    def score(self, prefix, chunk):
        nll = super().score(prefix, chunk)
        nll[-1] = -9
        return nll
