"""An n-gram cache of scored text, mixed in over the whole vocabulary: allowed on track B (#1017)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("n-gram cache of scored text, normalized", "#1017")


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.counts = np.zeros_like(self.table)
        self.is_adaptive = ttt_cfg is not None

    def log_probs(self, prefix, chunk):
        counts = self.counts[np.append(prefix[-1:], chunk[:-1])]
        total = counts.sum(1, keepdims=True)
        return np.log((8 * np.exp(super().log_probs(prefix, chunk)) + counts) / (8 + total))

    def update(self, scored_chunk) -> None:
        if self.is_adaptive:
            np.add.at(self.counts, (scored_chunk.tokens[:-1], scored_chunk.tokens[1:]), 1)
