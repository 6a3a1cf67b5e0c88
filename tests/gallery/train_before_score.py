"""TTT that reports its last epoch: it learns from the chunk, then scores it, and keeps the weights (#512, #548)."""

from gallery.bias_predictor import BiasPredictor, fit_bias
from gallery.case import Violation

CASE = Violation(2, "multi-epoch TTT, last epoch reported", "#410 #512 #548 #568", ("C1-a",))


class CasePredictor(BiasPredictor):
    def score(self, prefix, chunk):
        before = self.table[[prefix[-1], *chunk[:-1]]]
        self.bias = fit_bias(self.bias, before, chunk)
        return super().score(prefix, chunk)
