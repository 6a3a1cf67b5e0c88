"""A memory of the text before a position: what followed its last tokens earlier, mixed into the model's distribution.

For contexts of several lengths it keeps the newest tokens that followed each. They are mixed with the model's
probabilities from the shortest context to the longest, as PPM mixes its orders (docs/references.md#ngram-memory):

    p_k(y) = λ_k q_k(y) + (1 - λ_k) p_{k-1}(y),    λ_k = n / (n + e_k u),    p_0: the model's distribution

n: tokens kept for the context of order k; u: how many of them differ; e_k: the order's escape weight; q_k: the kept
tokens, the one seen a times before the newest weighing (a + 1)^-r, r the recency exponent. If p_0 is a
distribution, so is each p_k.

The mixture at a position is a function of the tokens before it alone, the chunk's own included: a token is recorded
after it was scored. As with PPM's update exclusion, it is recorded from the longest context down to the first that knew
it.
"""

# n tokens of the chunk, V vocabulary size

from collections.abc import Iterator

import numpy as np

from golf.inference.interface import MemorySettings, ScoredChunk

__all__ = ["NgramMemory"]

_Context = tuple[bytes, tuple[int, ...], float]  # its token ids, their successors (the newest first), its escape weight
_ID_BYTES = 2


class _Successors(dict[bytes, tuple[int, ...]]):
    """The newest successors of each context. Contexts missing here are looked up in ``base``."""

    def __init__(self, base: dict[bytes, tuple[int, ...]]) -> None:
        self._base = base

    def __missing__(self, key: bytes) -> tuple[int, ...]:
        return self._base.get(key, ())


class NgramMemory:
    """Mixes the probabilities of a stream's tokens with what followed their contexts before.

    ``learn`` records a chunk for good. The other methods record what their prefix holds beyond that in an overlay,
    which the next call extends if its prefix begins alike and drops otherwise. So no result depends on earlier calls.

    Contexts are stored exactly, in a dict. Seven orders take about 0.5 KB for each token.
    """

    def __init__(self, cfg: MemorySettings) -> None:
        self._orders = sorted(zip(cfg.orders, cfg.escape_weights, strict=True), reverse=True)  # the longest first
        self._max_successors, self._longest_order = cfg.max_successors, self._orders[0][0]
        self._recency_weights = [(age + 1) ** -cfg.recency_exponent for age in range(cfg.max_successors)]
        self._recency_sums = np.cumsum([0.0, *self._recency_weights]).tolist()
        self._learned: dict[bytes, tuple[int, ...]] = {}
        self._n_learned, self._last_learned = 0, b""  # tokens, and the ids that a context may still reach
        self._overlay, self._overlay_ids = _Successors(self._learned), self._last_learned

    def learn(self, chunk: ScoredChunk) -> None:
        """Record a chunk's tokens. Chunks are given in the stream's order, none left out."""
        new_tokens = chunk.tokens[min(1, self._n_learned) :]  # the first chunk also brings the stream's first token
        self._extend_overlay(self._last_learned + _pack_ids(new_tokens))
        self._learned.update(self._overlay)
        self._n_learned += len(new_tokens)
        self._last_learned = self._overlay_ids[-_ID_BYTES * self._longest_order :]
        self._drop_overlay()

    def mix_nll(self, prefix: np.ndarray, chunk: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Return the nll of each token of ``chunk`` in the mixture: fp32 [n]. prefix: the stream before the chunk.

        nll: the model's, [n].
        """
        ids = self._pack_prefix(prefix)
        self._extend_overlay(ids)
        probs, mixed = np.exp(-nll.astype(np.float64)).tolist(), []
        contexts_of_chunk = self.iter_contexts(ids + _pack_ids(chunk))
        for token, prob, contexts in zip(chunk.tolist(), probs, contexts_of_chunk, strict=True):
            scales, model_share = self._weigh_contexts(contexts)
            share = 0.0
            for successors, scale in scales:
                if token in successors:
                    for successor, weight in zip(successors, self._recency_weights, strict=False):
                        if successor == token:
                            share += scale * weight
            mixed.append(share + model_share * prob)
        return -np.log(mixed).astype(np.float32)

    def mix_probs_(self, prefix: np.ndarray, probs_V: np.ndarray) -> np.ndarray:
        """Turn the model's distribution of the token after ``prefix`` into the mixture, in place; float64 [V]."""
        ids = self._pack_prefix(prefix)
        self._extend_overlay(ids)
        scales, model_share = self._weigh_contexts(self._find_contexts(ids, len(ids) // _ID_BYTES))
        shares: dict[int, float] = {}
        for successors, scale in scales:
            for token, weight in zip(successors, self._recency_weights, strict=False):
                shares[token] = shares.get(token, 0.0) + scale * weight
        probs_V *= model_share
        probs_V[list(shares)] += list(shares.values())
        return probs_V

    def mix_pair_nll(self, prefix: np.ndarray, chunk: np.ndarray, hints: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Return the mixture's nll of ``chunk`` and, at its places, of ``hints``: fp32 [2, n]. nll: the model's."""
        ids = self._pack_prefix(prefix)
        self._extend_overlay(ids)
        probs, pairs = np.exp(-nll.astype(np.float64)), np.stack([chunk, hints]).T.tolist()
        for row, contexts in enumerate(self.iter_contexts(ids + _pack_ids(chunk))):
            scales, model_share = self._weigh_contexts(contexts)
            for column, token in enumerate(pairs[row]):
                probs[column, row] *= model_share
                for successors, scale in scales:
                    for successor, weight in zip(successors, self._recency_weights, strict=False):
                        probs[column, row] += scale * weight * (successor == token)
        return -np.log(probs).astype(np.float32)

    def mix_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """Return the mixture's log-probabilities of the token after ``prefix``: fp32 [V]. log_probs: the model's."""
        return np.log(self.mix_probs_(prefix, np.exp(log_probs.astype(np.float64)))).astype(np.float32)

    def iter_contexts(self, ids: bytes) -> Iterator[list[_Context]]:
        """Yield the contexts of each token of ``ids`` after the recorded ones, the longest first; then record it.

        ids: two bytes a token, little-endian, which begin with those in the overlay.
        """
        n_recorded = len(self._overlay_ids)
        new_tokens = np.frombuffer(ids, "<u2", offset=n_recorded).tolist() if len(ids) > n_recorded else ()
        for index, token in enumerate(new_tokens, n_recorded // _ID_BYTES):
            contexts = self._find_contexts(ids, index)
            yield contexts
            for key, successors, _ in contexts:
                self._overlay[key] = (token, *successors[: self._max_successors - 1])
                if token in successors:
                    break
        self._overlay_ids = ids

    def _pack_prefix(self, prefix: np.ndarray) -> bytes:
        """The ids of a prefix, from the first that a context after the learned tokens may reach."""
        return _pack_ids(prefix[max(0, self._n_learned - self._longest_order) :])

    def _drop_overlay(self) -> None:
        self._overlay, self._overlay_ids = _Successors(self._learned), self._last_learned

    def _extend_overlay(self, ids: bytes) -> None:
        """Record all of ``ids``, which begin with ``_last_learned``."""
        if not ids.startswith(self._overlay_ids):
            self._drop_overlay()
        for _ in self.iter_contexts(ids):
            pass

    def _find_contexts(self, ids: bytes, index: int) -> list[_Context]:
        """The contexts of the token at ``index``, from those recorded so far."""
        end, table = _ID_BYTES * index, self._overlay
        return [
            (key, table[key], escape_weight)
            for order, escape_weight in self._orders
            if order <= index
            for key in [ids[end - _ID_BYTES * order : end]]
        ]

    def _weigh_contexts(self, contexts: list[_Context]) -> tuple[list[tuple[tuple[int, ...], float]], float]:
        """(each context's successors and the factor of their recency weights, the share left for the model)"""
        scales, remaining = [], 1.0
        for _, successors, escape_weight in contexts:
            if successors:
                n = len(successors)
                weight = n / (n + escape_weight * len(set(successors)))
                scales.append((successors, remaining * weight / self._recency_sums[n]))
                remaining *= 1 - weight
        return scales, remaining


def _pack_ids(tokens: np.ndarray) -> bytes:
    return tokens.astype("<u2").tobytes()
