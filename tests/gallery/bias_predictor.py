"""A bias on the logits, the smallest thing that can learn. Learning it from sealed chunks only, as here, is allowed."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax

_SGD_STEPS, _LEARNING_RATE = 5, 5.0


def fit_bias(bias: np.ndarray, log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """``bias`` [V] after some steps of gradient descent on the mean nll of ``targets`` [n]; expected: [n, V]."""
    target_freqs = np.bincount(targets, minlength=len(bias)) / len(targets)
    for _ in range(_SGD_STEPS):
        bias = bias + _LEARNING_RATE * (target_freqs - np.exp(log_softmax(log_probs + bias)).mean(0))
    return bias


class BiasPredictor(BigramPredictor):
    """Adds what it learned from the chunks that were scored, where there is a plan to learn."""

    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.bias, self.is_adaptive = np.zeros(len(self.table)), ttt_cfg is not None

    def log_probs(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk) + self.bias)

    def update(self, scored_chunk) -> None:
        if self.is_adaptive:
            self.bias = fit_bias(self.bias, self.table[scored_chunk.tokens[:-1]], scored_chunk.tokens[1:])
