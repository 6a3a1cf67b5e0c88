"""A Sitting without a room: what the probes need of it, over a method in this process; and the methods put on it."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch

from golf.compliance.probes import InPassProbes
from golf.data.eval_stream import EvalStream
from golf.evaluation import evaluator
from golf.evaluation.sandbox import state_hash

BOS = 1


class FakeSession:
    """As golf.evaluation.sandbox.host.SandboxSession, with the facts given."""

    def __init__(self, predictor, *, documents: str = "", dtype=torch.float32):
        (
            self.predictor,
            self.is_uncounted,
            self.n_score_calls,
            self.n_state_changes,
            self.state_hash,
            self.initial_state_hash,
        ) = predictor, False, 0, 0, "", ""
        self.info = {"predicts": hasattr(predictor, "predict"), "documents": documents}
        self.ctx = SimpleNamespace(dtype=dtype, device=torch.device("cpu"))

    @contextlib.contextmanager
    def uncounted(self):
        self.is_uncounted = True
        yield
        self.is_uncounted = False

    def reset(self, **settings) -> None:
        self.predictor.begin(**settings)
        self.initial_state_hash = state_hash.hash_state(self.predictor)

    def score(self, prefix, chunk, positions=None):
        self.state_hash = state_hash.hash_state(self.predictor)
        scores = self.predictor.score(prefix, chunk, positions)
        self.n_score_calls += not self.is_uncounted
        self.n_state_changes += not self.is_uncounted and state_hash.hash_state(self.predictor) != self.state_hash
        return scores

    def predict(self, prefix):
        return self.predictor.predict(prefix)

    def update(self, scored_chunk) -> None:
        self.predictor.update(scored_chunk)


class FixedBigrams:
    """The next token from the last one: a pure method. table: log-probabilities fp32 [V, V]."""

    def __init__(self, vocab_size: int, seed: int = 0):
        self.table = log_softmax(np.random.default_rng(seed).normal(size=(vocab_size, vocab_size)))

    def reset(self, *, stride, ttt_cfg=None, n_chunks=1) -> None:
        pass

    def log_probs(self, prefix, chunk):
        """A row for each token of ``chunk``, [n, V]."""
        return self.table[np.append(prefix[-1:], chunk[:-1])]

    def score(self, prefix, chunk, positions=None):
        log_probs = self.log_probs(prefix, chunk)
        nll = -log_probs[np.arange(len(chunk)), chunk]
        return nll if positions is None else (nll, log_probs[positions])

    def predict(self, prefix):
        return self.log_probs(prefix, prefix[:1])[0]

    def update(self, scored_chunk) -> None:
        pass


class CountedBigrams(FixedBigrams):
    """Counts pairs of tokens as they are sealed, from nothing in each pass: score-first, and pure while scoring."""

    def reset(self, *, stride, ttt_cfg=None, n_chunks=1) -> None:
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
    """Random tokens in so many documents of about one length."""
    tokens = np.random.default_rng(seed).integers(2, max(vocab_size, 3), n_targets + 1).astype(np.uint16)
    tokens[np.linspace(0, n_targets, n_documents, endpoint=False).astype(int)] = BOS
    return EvalStream(tokens, np.full(n_targets, 3), BOS)


def run_probed_pass(
    session, stream: EvalStream, *, chunk_tokens: int, vocab_size: int, n_alternatives: int = 8, probed_chunks=(0, 1)
) -> InPassProbes:
    """An audit of a whole pass in chunks of so many tokens, at the chunks named by index."""
    probed, rng = frozenset(probed_chunks), np.random.default_rng(5)
    probes = InPassProbes(session, stream, chunk_tokens, probed, vocab_size, n_alternatives, rng)
    settings = {"plan": SimpleNamespace(chunk_tokens=chunk_tokens, stride=8), "stride": 8, "context": 8}
    evaluator.evaluate_mode(session, stream, "plain", **settings, quiet=True, stage="test", probes=probes)
    return probes
