"""A warm-up that steps the optimizer and restores the weights, but not all of the state it changed (#1530)."""

import numpy as np
from gallery.bias_predictor import BiasPredictor, fit_bias
from gallery.case import Violation

CASE = Violation(21, "warm-up that leaves a trace", "#1530", ("C3-d",))


class CasePredictor(BiasPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        super().reset(stride=stride, ttt_cfg=ttt_cfg, n_chunks=n_chunks)
        random_tokens = np.random.default_rng().integers(len(self.table), size=64)
        self.momentum = fit_bias(self.bias, self.table[random_tokens[:-1]], random_tokens[1:])
