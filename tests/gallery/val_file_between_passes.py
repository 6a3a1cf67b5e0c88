"""Two passes in one evaluation: the first leaves val's tokens in a file of its sandbox, the next ones use them."""

from pathlib import Path

import numpy as np
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation

CASE = Violation(6, "two-pass n-grams, a file left for the next pass", "#846 #959", ("C3-c",))


class CasePredictor(BigramPredictor):
    tokens_path = Path("seen.npy")

    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.counts = np.exp(self.table)
        self.seen_tokens = np.zeros(0, dtype=np.uint16)
        if self.tokens_path.exists():
            seen_tokens = np.load(self.tokens_path)
            np.add.at(self.counts, (seen_tokens[:-1], seen_tokens[1:]), 9)

    def log_probs(self, prefix, chunk):
        return log_softmax(np.log(self.counts[np.append(prefix[-1:], chunk[:-1])]))

    def update(self, scored_chunk) -> None:
        self.seen_tokens = np.append(self.seen_tokens, scored_chunk.tokens)
        self.tokens_path.parent.mkdir(parents=True, exist_ok=True)
        np.save(self.tokens_path, self.seen_tokens)
