"""A Sitting without a room: what the probes need of it, over a method in this process; and the methods put on it."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch

from golf import judge
from golf.data.stream import Stream
from golf.room import fingerprint
from golf.rules.audit import Audit

BOS = 1


class Sitting:
    """As golf.room.room.Sitting, with the facts given."""

    def __init__(self, method, *, documents: str = "", dtype=torch.float32):
        self.method, self.aside, self.calls, self.moved, self.state, self.begun = method, False, 0, 0, "", ""
        self.facts = {"predicts": hasattr(method, "predict"), "documents": documents}
        self.here = SimpleNamespace(dtype=dtype, device=torch.device("cpu"))

    @contextlib.contextmanager
    def apart(self):
        self.aside = True
        yield
        self.aside = False

    def begin(self, **how) -> None:
        self.method.begin(**how)
        self.begun = fingerprint.of(self.method)

    def score(self, prefix, chunk, rows=None):
        self.state = fingerprint.of(self.method)
        found = self.method.score(prefix, chunk, rows)
        self.calls += not self.aside
        self.moved += not self.aside and fingerprint.of(self.method) != self.state
        return found

    def predict(self, prefix):
        return self.method.predict(prefix)

    def update(self, sealed) -> None:
        self.method.update(sealed)


class Table:
    """The next token from the last one: a pure method. table: log-probabilities fp32 [V, V]."""

    def __init__(self, vocabulary: int, seed: int = 0):
        self.table = normalised(np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)))

    def begin(self, *, stride, plan=None, chunks=1) -> None:
        pass

    def expect(self, prefix, chunk):
        """A row for each token of ``chunk``, [n, V]."""
        return self.table[np.append(prefix[-1:], chunk[:-1])]

    def score(self, prefix, chunk, rows=None):
        found = self.expect(prefix, chunk)
        nll = -found[np.arange(len(chunk)), chunk]
        return nll if rows is None else (nll, found[rows])

    def predict(self, prefix):
        return self.expect(prefix, prefix[:1])[0]

    def update(self, sealed) -> None:
        pass


class Counts(Table):
    """Counts pairs of tokens as they are sealed, from nothing in each pass: score-first, and pure while scoring."""

    def begin(self, *, stride, plan=None, chunks=1) -> None:
        self.counts = np.ones((len(self.table), len(self.table)))

    def expect(self, prefix, chunk):
        return normalised(self.table + np.log(self.counts))[np.append(prefix[-1:], chunk[:-1])]

    def update(self, sealed) -> None:
        np.add.at(self.counts, (sealed.tokens[:-1], sealed.tokens[1:]), 1)


def normalised(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, fp32."""
    logits = np.asarray(logits, np.float64)
    return (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)


def stream(targets: int, vocabulary: int, seed: int = 0, documents: int = 2) -> Stream:
    """Random tokens in so many documents of about one length."""
    tokens = np.random.default_rng(seed).integers(2, max(vocabulary, 3), targets + 1).astype(np.uint16)
    tokens[np.linspace(0, targets, documents, endpoint=False).astype(int)] = BOS
    return Stream(tokens, np.full(targets, 3), BOS)


def audited(sitting, text: Stream, *, chunk: int, vocabulary: int, alternatives: int = 8, chunks=(0, 1)) -> Audit:
    """An audit of a whole pass in chunks of so many tokens, at the chunks named by index."""
    named, dice = frozenset(chunks), np.random.default_rng(5)
    auditor = Audit(sitting, text, chunk, named, vocabulary, alternatives, dice)
    how = {"plan": SimpleNamespace(chunk_tokens=chunk, stride=8), "stride": 8, "context": 8}
    judge.judge(sitting, text, "plain", **how, quiet=True, stage="test", audit=auditor)
    return auditor
