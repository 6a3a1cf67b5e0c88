"""A memo of the text in an attribute of a module that the predictor did not write."""

import numpy as np
from gallery.case import Violation
from gallery.memo_predictor import MemoPredictor

CASE = Violation(0, "a memo of the text in an attribute of numpy", "#1017", ("C1-a", "C2-c"))


class CasePredictor(MemoPredictor):
    def get_memo(self):
        if not hasattr(np.random, "memo"):
            np.random.memo = {}
        return np.random.memo
