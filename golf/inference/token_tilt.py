"""The token tilt: what followed exactly the same long context before is made likelier (PRs #1514, #2050, #2135).

At each position the most frequent successor h of the last ``tilt_order`` tokens is the hint, if it followed them in a
share of at least ``tilt_threshold`` of the cases; a tie keeps the token that was there first. With q = p(h),

    p'(v) = p(v) e^(β [v = h]) / (1 + q (e^β - 1)),    nll' = nll - β [y = h] + log(1 + q (e^β - 1)),

which adds up to 1 if p does. The table is read before the token is recorded, token by token, within a chunk too, so a
hint follows from the tokens before it alone. Contexts are the exact token ids, so none collide.

The hedge (PR #2050) mixes tilts of several strengths β_m = m β: p' = Σ w_m p'_m with w = softmax(-rate Σ nll'_m), the
sums over the tokens of the document so far. #2050 adds to the sums after each chunk, this after each token.
docs/references.md#ngram-cache says how the tilt stands with the rules.
"""

# n tokens of a chunk, M strengths, V vocabulary size

from collections.abc import Callable, Iterator

import numpy as np

from golf.inference.interface import MemorySettings, ScoredChunk

__all__ = ["TokenTilt"]

_NO_HINT = -1
_Entry = tuple[int, dict[int, int]]  # the most frequent successor, the count of each


class _Table(dict[bytes, _Entry | None]):
    """The successors of each context. Contexts missing here are looked up in ``base``, which never changes."""

    def __init__(self, base: "_Table | None") -> None:
        self.base = base

    def __missing__(self, key: bytes) -> _Entry | None:
        return None if self.base is None else self.base[key]

    def record(self, key: bytes, token: int) -> None:
        """Count one more ``token`` after the context."""
        top, counts = self[key] or (token, {})
        counts = {**counts, token: counts.get(token, 0) + 1}
        self[key] = token if counts[token] > counts[top] else top, counts

    def forget(self) -> None:
        """Forget everything, what ``base`` holds too."""
        self.clear()
        self.base = None


class TokenTilt:
    """Tilts the distributions of a stream, whose first token is the one that starts each of its documents.

    ``learn`` records a chunk for good; scores and predictions are functions of the tokens before them, of the weights,
    and of the nll that the hedge saw before the weights changed.
    """

    def __init__(
        self, cfg: MemorySettings, measure: Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
    ) -> None:
        """measure: from (prefix, chunk, hints) to the untilted nll of the chunk's tokens and, unless hints is None, of
        the hints at the same places: [2, n], else [n].
        """
        assert cfg.tilt_order is not None
        self._order, self._threshold, self._rate = cfg.tilt_order, cfg.tilt_threshold, cfg.hedge_rate
        self._betas = cfg.tilt_beta * np.array(cfg.hedge or [1.0])
        self._is_within_documents, self._measure = cfg.scope == "document", measure
        self._tokens, self._n_learned = np.zeros(1, np.uint16), 0  # the stream, in memory for more
        self._table = _Table(None)
        self._observed = self._learned_sums = 0, np.zeros(len(self._betas))  # (tokens, the hedge's sums after them)
        self._restart()

    def _restart(self) -> None:
        """Drop what was recorded of tokens that are not learned."""
        self._recorded, self._n_recorded, self._hints = _Table(self._table), self._n_learned, list[int]()

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        """Return the tilted nll of each token of ``chunk``: fp32 [n]. prefix: the stream before the chunk."""
        sums = self._observe(prefix)
        hints = np.array(list(self._walk(np.append(prefix, chunk), len(prefix), _Table(self._recorded))))
        nll, losses = self._measure_losses(prefix, chunk, hints)
        weights, sums = self._weigh(chunk, losses, sums, int(prefix[0]))
        self._observed = len(prefix) + len(chunk), sums
        return (nll - np.log((weights * np.exp(-losses)).sum(1))).astype(np.float32)

    def tilt_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """Return the tilted log-probabilities of the token after ``prefix``: fp32 [V]. log_probs: the untilted ones."""
        sums = self._observe(prefix)
        known = prefix[-self._order :]
        hint = self._read_hint(known.astype("<u2").tobytes(), self._recorded)
        if hint == _NO_HINT:
            return log_probs
        (weights,) = _softmax(-self._rate * sums[None])
        log_sums = np.log1p(np.exp(float(log_probs[hint])) * np.expm1(self._betas))
        tilted = log_probs + np.log((weights * np.exp(-log_sums)).sum())
        tilted[hint] = log_probs[hint] + np.log((weights * np.exp(self._betas - log_sums)).sum())
        return tilted.astype(np.float32)

    def learn(self, chunk: ScoredChunk) -> None:
        """Record a chunk's tokens, before the weights change. Chunks are given in the stream's order, none left out."""
        new = chunk.tokens if self._n_learned == 0 else chunk.tokens[1:]
        n_tokens = self._n_learned + len(new)
        if n_tokens > len(self._tokens):
            self._tokens = np.resize(self._tokens, 2 * n_tokens)
        self._tokens[self._n_learned : n_tokens] = new
        stream = self._tokens[:n_tokens]
        self._learned_sums = n_tokens, self._observe(stream)
        for _ in self._walk(stream, max(1, self._n_learned), self._table):
            pass
        self._n_learned = n_tokens
        self._restart()

    def _walk(self, stream: np.ndarray, begin: int, table: _Table) -> Iterator[int]:
        """Yield the hint of each position from ``begin`` on, or _NO_HINT; then record its token in ``table``."""
        first = max(0, begin - self._order)
        ids, id_bytes = stream[first:].tolist(), stream[first:].astype("<u2").tobytes()  # two bytes an id
        for index in range(begin - first, len(ids)):
            if index < self._order:
                yield _NO_HINT
                continue
            key = id_bytes[2 * (index - self._order) : 2 * index]
            yield self._read_hint(key, table)
            table.record(key, ids[index])
            if self._is_within_documents and ids[index] == stream[0]:
                table.forget()  # a context with a document's start inside occurs once, so none reaches beyond it

    def _read_hint(self, key: bytes, table: _Table) -> int:
        top, counts = table[key] or (_NO_HINT, {})
        return top if counts and counts[top] >= self._threshold * sum(counts.values()) else _NO_HINT

    def _record(self, prefix: np.ndarray) -> None:
        """Record the tokens of ``prefix`` that are not learned, and keep their hints."""
        if len(prefix) < self._n_recorded:
            self._restart()
        begin = max(1, self._n_recorded)
        self._hints += [_NO_HINT] * (begin - self._n_recorded)  # the stream's first token follows nothing
        self._hints += self._walk(prefix, begin, self._recorded)
        self._n_recorded = len(prefix)

    def _observe(self, prefix: np.ndarray) -> np.ndarray:
        """The hedge's sums after ``prefix``: float64 [M], of the document that it ends in."""
        self._record(prefix)
        n, sums = self._observed if self._observed[0] <= len(prefix) else self._learned_sums
        if len(self._betas) > 1 and n < len(prefix):
            n = max(1, n)
            hints = np.array(self._hints[n - self._n_learned :], int)
            if (hints != _NO_HINT).any() or (prefix[n:] == prefix[0]).any():
                _, losses = self._measure_losses(prefix[:n], prefix[n:], hints)
                _, sums = self._weigh(prefix[n:], losses, sums, int(prefix[0]))
        self._observed = len(prefix), sums
        return sums

    def _measure_losses(
        self, prefix: np.ndarray, chunk: np.ndarray, hints: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(the untilted nll [n], what each strength adds to it: float64 [n, M])"""
        has_hint = hints != _NO_HINT
        if not has_hint.any():
            return self._measure(prefix, chunk, None), np.zeros((len(chunk), len(self._betas)))
        nll, hint_nll = self._measure(prefix, chunk, np.where(has_hint, hints, 0)).astype(np.float64)
        q = np.where(has_hint, np.exp(-hint_nll), 0.0)[:, None]
        return nll, np.log1p(q * np.expm1(self._betas)) - self._betas * (hints == chunk)[:, None]

    def _weigh(
        self, chunk: np.ndarray, losses: np.ndarray, sums: np.ndarray, bos: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(the strengths' weights at each position [n, M], the sums after the chunk). sums: those before it, [M]."""
        before = []
        for part in np.split(losses, np.flatnonzero(chunk == bos) + 1):
            after = sums + np.cumsum(part, 0)
            before.append(after - part)
            last, sums = (after[-1] if len(part) else sums), np.zeros_like(sums)  # a document begins anew
        return _softmax(-self._rate * np.concatenate(before)), last


def _softmax(x: np.ndarray) -> np.ndarray:
    exps = np.exp(x - x.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)
