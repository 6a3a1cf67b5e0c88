"""Score, train, score again: a new pass starts with what the previous pass learned (#991)."""

import numpy as np
from gallery.bias_predictor import BiasPredictor
from gallery.case import Violation

CASE = Violation(2, "score, train, rescore", "#462 #991", ("C3-c",))


class CasePredictor(BiasPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.bias, self.is_adaptive = getattr(self, "bias", np.zeros(len(self.table))), ttt_cfg is not None
