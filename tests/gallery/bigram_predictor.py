"""A fixed predictor of the next token from the last one; the other predictors of the gallery are variations of it."""

import numpy as np

from golf.artifacts import io

ARTIFACT_KIND = "bigrams"


class BigramPredictor:
    """table: natural log-probabilities, fp32 [V, V], a row for each token before."""

    def __init__(self, table: np.ndarray):
        self.table = table

    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        tensors, _ = io.load_tensors(path, kind=ARTIFACT_KIND)
        return cls(tensors["table"].numpy())

    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        pass

    def log_probs(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        """Log-probabilities [n, V] of each token of ``chunk``, of which row i may use ``prefix`` and ``chunk[:i]``."""
        return self.table[np.append(prefix[-1:], chunk[:-1])]

    def score(self, prefix: np.ndarray, chunk: np.ndarray):
        log_probs = self.log_probs(prefix, chunk)
        return -log_probs[np.arange(len(chunk)), chunk]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        return self.log_probs(prefix, prefix[:1])[0]

    def update(self, scored_chunk) -> None:
        pass


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities fp64 [..., V] of any finite scores [..., V]."""
    logits = logits.astype(np.float64)
    max_logits = logits.max(axis=-1, keepdims=True)
    return logits - max_logits - np.log(np.exp(logits - max_logits).sum(axis=-1, keepdims=True))
