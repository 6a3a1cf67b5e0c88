"""A sandbox session without a sandbox, over a predictor in this process, and simple predictors for it."""

from types import SimpleNamespace

import numpy as np
import torch

from golf.data.eval_stream import EvalStream
from golf.evaluation.sandbox import state_hash

BOS = 1


class FakeSession:
    """As golf.evaluation.sandbox.session.SandboxSession."""

    def __init__(self, predictor, *, documents: str = ""):
        self.predictor = predictor
        self.n_score_calls = 0
        self.initial_state_hash = ""
        self.info = {"has_predict": hasattr(predictor, "predict"), "documents": documents, "disputed": []}
        self.ctx = SimpleNamespace(device=torch.device("cpu"))

    def reset(self, **settings) -> None:
        self.predictor.reset(**settings)
        self.initial_state_hash = state_hash.hash_state(self.predictor)

    def score(self, prefix, chunk):
        self.n_score_calls += 1
        return self.predictor.score(prefix, chunk)

    def predict(self, prefix):
        return self.predictor.predict(prefix)

    def update(self, scored_chunk) -> None:
        self.predictor.update(scored_chunk)


class FixedBigrams:
    """Predicts the next token from the last one, without state. table: log-probabilities fp32 [V, V]."""

    def __init__(self, vocab_size: int, seed: int = 0):
        self.table = log_softmax(np.random.default_rng(seed).normal(size=(vocab_size, vocab_size)))

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream") -> None:
        pass

    def log_probs(self, prefix, chunk):
        """A row for each token of ``chunk``, [n, V]."""
        return self.table[np.append(prefix[-1:], chunk[:-1])]

    def score(self, prefix, chunk):
        log_probs = self.log_probs(prefix, chunk)
        return -log_probs[np.arange(len(chunk)), chunk]

    def predict(self, prefix):
        return self.log_probs(prefix, prefix[:1])[0]

    def update(self, scored_chunk) -> None:
        pass


class CountedBigrams(FixedBigrams):
    """Learns bigram counts of scored chunks, from scratch in each pass: score-first, and pure while scoring."""

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream") -> None:
        self.counts = np.ones((len(self.table), len(self.table)))

    def log_probs(self, prefix, chunk):
        return log_softmax(self.table + np.log(self.counts))[np.append(prefix[-1:], chunk[:-1])]

    def update(self, scored_chunk) -> None:
        np.add.at(self.counts, (scored_chunk.tokens[:-1], scored_chunk.tokens[1:]), 1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, fp32."""
    logits = np.asarray(logits, np.float64)
    return (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)


def random_stream(n_targets: int, vocab_size: int, seed: int = 0, n_documents: int = 2) -> EvalStream:
    """Random tokens in ``n_documents`` of about equal length."""
    tokens = np.random.default_rng(seed).integers(2, max(vocab_size, 3), n_targets + 1).astype(np.uint16)
    tokens[np.linspace(0, n_targets, n_documents, endpoint=False).astype(int)] = BOS
    return EvalStream(tokens, np.full(n_targets, 3), BOS)
