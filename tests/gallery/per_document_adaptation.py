"""Adaptation to one document at a time: learned from its scored part, reset where the next one starts (#1610)."""

import numpy as np
from gallery.bias_predictor import BiasPredictor, fit_bias
from gallery.case import Compliant

CASE = Compliant("adaptation to each document, with reset", "#1610 #1626")
BOS = 1


class CasePredictor(BiasPredictor):
    documents = "independent"

    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        super().reset(stride=stride, ttt_cfg=ttt_cfg, n_chunks=n_chunks)
        self.n_consumed = 1  # tokens of the stream that are learned from or passed over

    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix, chunk)[self.n_consumed - 1 : -1]
        is_new_document = np.cumsum(tokens == BOS)[-len(chunk) :] > (tokens[0] == BOS)
        return np.where(is_new_document[:, None], self.table[tokens[-len(chunk) :]], super().log_probs(prefix, chunk))

    def update(self, scored_chunk) -> None:
        starts = np.flatnonzero(scored_chunk.tokens == BOS)
        document_tokens = scored_chunk.tokens[starts[-1] :] if len(starts) else scored_chunk.tokens
        self.n_consumed += len(scored_chunk.tokens) - 1
        if len(starts):
            self.bias = np.zeros_like(self.bias)
        if self.is_adaptive and len(document_tokens) > 1:
            self.bias = fit_bias(self.bias, self.table[document_tokens[:-1]], document_tokens[1:])
