"""Causal SLOT: the bias is fitted to scored context only; never ruled on, and declared by the predictor (#1336)."""

import numpy as np
from gallery.bias_predictor import fit_bias
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(4, "causal SLOT", "#1217 #1306 #1333 #1336 #1350", ("U-b",), expected_status="UNRULED")
BLOCK_TOKENS, CONTEXT_TOKENS = 64, 128


class CasePredictor(BigramPredictor):
    disputed = ("causal SLOT",)

    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix, chunk)
        log_probs = super().log_probs(prefix, chunk).astype(np.float64)
        blocks = np.arange(len(prefix), len(tokens)) // BLOCK_TOKENS
        for block in np.unique(blocks):
            log_probs[blocks == block] += self._fit_block_bias(
                tokens[max(0, block * BLOCK_TOKENS - CONTEXT_TOKENS) : block * BLOCK_TOKENS]
            )
        return log_softmax(log_probs)

    def _fit_block_bias(self, context: np.ndarray) -> np.ndarray:
        zero_bias = np.zeros(len(self.table))
        return fit_bias(zero_bias, self.table[context[:-1]], context[1:]) if len(context) > 1 else zero_bias
