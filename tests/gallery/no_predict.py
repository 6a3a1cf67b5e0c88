"""A predictor that cannot predict before it is shown the target."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "no distribution without the target", "#1017", ("C1-a",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    predict = None
