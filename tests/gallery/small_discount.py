"""Each score is 0.005 nats better than its distribution allows: below the rounding of one score in bf16."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "a discount of 0.005 nats on every score", "", ("C1-a", "C2-c"))


class CasePredictor(BigramPredictor):
    def score(self, prefix, chunk):
        scores = super().score(prefix, chunk)
        return scores - 0.005
