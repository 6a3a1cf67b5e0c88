"""A fixed predictor: the next token from the last one, nothing learned while scoring (track A)."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("fixed predictor", settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor
