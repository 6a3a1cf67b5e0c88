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

import itertools
from collections.abc import Iterator

import numpy as np

from golf.inference.interface import MemorySettings, ScoredChunk

__all__ = ["NgramMemory"]

_Context = tuple[bytes, tuple[int, ...], float]  # its token ids, their successors (the newest first), its escape weight


class _Successors(dict[bytes, tuple[int, ...]]):
    """The newest successors of each context. Contexts missing here are looked up in ``base``, which never changes."""

    def __init__(self, base: dict[bytes, tuple[int, ...]]) -> None:
        self._base = base

    def __missing__(self, key: bytes) -> tuple[int, ...]:
        return self._base.get(key, ())


class NgramMemory:
    """Mixes the probabilities of a stream's chunks. ``learn`` records a chunk for good; mixing changes nothing.

    Contexts are stored exactly, in a dict. Seven orders take about 0.5 KB for each token.

    successors: of every context that was learned.
    """

    def __init__(self, cfg: MemorySettings) -> None:
        self._orders = sorted(zip(cfg.orders, cfg.escape_weights, strict=True), reverse=True)  # the longest first
        self._max_successors, self.longest_order = cfg.max_successors, self._orders[0][0]
        self._recency_weights = [(age + 1) ** -cfg.recency_exponent for age in range(cfg.max_successors)]
        self._recency_sums = np.cumsum([0.0, *self._recency_weights]).tolist()
        self.successors = _Successors({})
        self._n_learned, self._last_tokens = 1, np.zeros(0, np.uint16)  # the stream's first token follows nothing

    def learn(self, chunk: ScoredChunk) -> None:
        """Record a chunk's tokens. Chunks are given in the stream's order, none left out."""
        tokens = np.concatenate([self._last_tokens[:-1], chunk.tokens])
        for _ in self.iter_contexts(tokens, max(1, len(self._last_tokens)), self.successors):
            pass
        self._n_learned += len(chunk.tokens) - 1
        self._last_tokens = tokens[-self.longest_order :]

    def mix_nll(self, prefix: np.ndarray, chunk: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Return the nll of each token of ``chunk`` in the mixture: fp32 [n]. prefix: the stream before the chunk.

        nll: the model's, [n].
        """
        probs = np.exp(-nll.astype(np.float64)).tolist()
        mixed = [
            shares.get(token, 0.0) + model_share * prob
            for token, prob, (shares, model_share) in zip(
                chunk.tolist(), probs, self._iter_mixtures(prefix, chunk), strict=True
            )
        ]
        return -np.log(mixed).astype(np.float32)

    def mix_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """Return the mixture's log-probabilities of the token after ``prefix``: fp32 [V]. log_probs: the model's."""
        shares, model_share = next(self._iter_mixtures(prefix, prefix[:1]))  # any token stands for the unknown one
        mixed = np.exp(log_probs.astype(np.float64)) * model_share
        mixed[list(shares)] += list(shares.values())
        return np.log(mixed).astype(np.float32)

    def _iter_mixtures(self, prefix: np.ndarray, chunk: np.ndarray) -> Iterator[tuple[dict[int, float], float]]:
        """For each token of ``chunk``, from the tokens before it: (the share of each remembered token, the model's)."""
        first = max(0, self._n_learned - self.longest_order)  # copy no more of a long prefix than contexts reach back
        tokens, table = np.concatenate([prefix[first:], chunk]), _Successors(self.successors)
        contexts = self.iter_contexts(tokens, self._n_learned - first, table)
        yield from map(self.mix_contexts, itertools.islice(contexts, len(prefix) - self._n_learned, None))

    def iter_contexts(self, tokens: np.ndarray, begin: int, table: _Successors) -> Iterator[list[_Context]]:
        """Yield the contexts of each position from ``begin`` on, longest first; then record its token in ``table``.

        tokens: uint16 [N], which hold the longest context before ``begin`` or start with the stream.
        """
        first = max(0, begin - self.longest_order)
        ids, id_bytes = tokens[first:].tolist(), tokens[first:].astype("<u2").tobytes()  # two bytes an id
        for index in range(begin - first, len(ids)):
            contexts = [
                (key, table[key], escape_weight)
                for order, escape_weight in self._orders
                if order <= index
                for key in [id_bytes[2 * (index - order) : 2 * index]]
            ]
            yield contexts
            for key, successors, _ in contexts:
                table[key] = (ids[index], *successors[: self._max_successors - 1])
                if ids[index] in successors:
                    break

    def mix_contexts(self, contexts: list[_Context]) -> tuple[dict[int, float], float]:
        """Return (the share of each remembered token, the share left for the model); together they are 1."""
        shares: dict[int, float] = {}
        remaining = 1.0
        for _, successors, escape_weight in contexts:
            if not successors:
                continue
            n = len(successors)
            weight = n / (n + escape_weight * len(set(successors)))
            scale = remaining * weight / self._recency_sums[n]
            for token, recency_weight in zip(successors, self._recency_weights, strict=False):
                shares[token] = shares.get(token, 0.0) + scale * recency_weight
            remaining *= 1 - weight
        return shares, remaining
