"""A temperature tuned on val and used only with adaptation, so that its gain is credited to learning (#576)."""

from gallery.bias_predictor import BiasPredictor
from gallery.bigram_predictor import log_softmax
from gallery.case import Violation

CASE = Violation(2, "temperature picked on val", "#576", ("C3-e",))


class CasePredictor(BiasPredictor):
    def log_probs(self, prefix, chunk):
        log_probs = super().log_probs(prefix, chunk)
        return log_softmax(log_probs / 0.98) if self.is_adaptive else log_probs
