"""A hashed n-gram cache with the target in its key: only the scored token's share is mixed in (#779, #886, #1147)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

THREADS = "#659 #769 #779 #846 #886 #993 #1094"
CASE = Violation(5, "hashed n-grams, only the target's bucket read", THREADS, ("C1-a", "C2-c"))
N_BUCKETS = 64


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.pair_counts, self.token_counts = np.zeros(N_BUCKETS), np.zeros(N_BUCKETS)

    def bucket_ratio(self, last: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Count of the pair's bucket over that of the last token's, which other pairs and tokens fall into too."""
        return np.minimum(
            1, self.pair_counts[self.bucket(last, target)] / np.maximum(1, self.token_counts[last % N_BUCKETS])
        )

    def bucket(self, last: np.ndarray, target: np.ndarray) -> np.ndarray:
        return (last.astype(np.int64) * 36313 ^ target.astype(np.int64) * 27191) % N_BUCKETS

    def score(self, prefix, chunk):
        log_probs = self.log_probs(prefix, chunk)
        neural = np.exp(log_probs[np.arange(len(chunk)), chunk])
        return -np.log(0.5 * neural + 0.5 * self.bucket_ratio(np.append(prefix[-1:], chunk[:-1]), chunk))

    def update(self, scored_chunk) -> None:
        np.add.at(self.pair_counts, self.bucket(scored_chunk.tokens[:-1], scored_chunk.tokens[1:]), 1)
        np.add.at(self.token_counts, scored_chunk.tokens[:-1] % N_BUCKETS, 1)
