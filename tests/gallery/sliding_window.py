"""Sliding windows: how far back a position looks depends on where its window starts, never on what follows."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Compliant

CASE = Compliant("sliding window of any stride", settings={"evaluate.headline": "sliding"})
CONTEXT_TOKENS = 32


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.stride = stride

    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix, chunk)
        return np.stack([self._predict_position(tokens, position) for position in range(len(prefix), len(tokens))])

    def _predict_position(self, tokens: np.ndarray, position: int) -> np.ndarray:
        """What a bag of the window's tokens says of the one at ``place``, the nearest counting most."""
        start = max(0, position // self.stride * self.stride + self.stride - CONTEXT_TOKENS)
        window = tokens[start:position] if start < position else tokens[position - 1 : position]
        weights = 0.3 ** np.arange(len(window))[::-1]
        return log_softmax(weights @ self.table[window] / weights.sum())
