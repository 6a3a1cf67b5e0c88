"""Score-first SGD: a chunk is scored, sealed, and only then learned from (#549, #1413)."""

from gallery.bias_predictor import BiasPredictor
from gallery.case import Compliant

CASE = Compliant("score-first SGD on a bias", "#549 #1413")
CasePredictor = BiasPredictor
