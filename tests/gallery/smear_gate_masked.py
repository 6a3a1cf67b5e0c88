"""A SmearGate that is closed at the start of a document, so that nothing crosses it (#1851, #1855)."""

import numpy as np
from gallery.case import Compliant
from gallery.smear_gate_across_bos import CasePredictor as Smear

CASE = Compliant("SmearGate masked at BOS", "#1851 #1855", settings={"evaluate.headline": "plain"})
BOS = 1


class CasePredictor(Smear):
    def gate(self, last: np.ndarray) -> np.ndarray:
        return np.where(last == BOS, 0.0, super().gate(last))
