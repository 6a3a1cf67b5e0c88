"""A neural cache: what followed when the model was in a similar state earlier (Grave et al. 2017).

The state h of a position is the model's normalized output, from which it predicts the next token. With the cosine
c_j = cos(h, h_j) to each of the last ``cache_tokens`` positions j, of which the next tokens y_j are known,

    p(y) = λ q(y) + (1 - λ) p_0(y),    q(y) = Σ_j [y_j = y] w_j / Σ_j w_j,    w_j = exp(θ (c_j - 1) - a_j / τ),
    λ = m^κ / (m^κ + e),    m = max_j w_j,

a_j: how many tokens ago; θ: ``cache_theta``; τ: ``cache_decay_tokens``; κ: ``cache_exponent``; e:
``cache_escape_weight``; p_0: the model's distribution. If it is a distribution, so is p. The mixture at a position is a
function of the tokens before it, the chunk's own included.
"""

# n tokens of the chunk, D width of the model, V vocabulary size

from collections.abc import Callable

import numpy as np
import torch

from golf.inference.interface import MemorySettings, ScoredChunk

__all__ = ["NeuralCache"]

_BLOCK = 256  # tokens that are weighed at a time


class NeuralCache:
    """Mixes the probabilities of a stream's tokens with those of the tokens that followed similar states.

    ``learn`` records a chunk for good. What the other methods record of a prefix beyond that is replaced as soon as
    another prefix is given, and its states are functions of that prefix, up to rounding.
    """

    def __init__(
        self, cfg: MemorySettings, d_model: int, compute_states: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> None:
        """compute_states: from (prefix, chunk) to the states that predict the chunk's tokens, fp32 [n, D]."""
        assert cfg.cache_tokens is not None
        self._n_cached, self._theta = cfg.cache_tokens, np.float32(cfg.cache_theta)
        self._decay_tokens = np.float32(cfg.cache_decay_tokens)
        self._escape_weight, self._exponent = cfg.cache_escape_weight, cfg.cache_exponent
        self._is_within_documents, self._compute_states = cfg.scope == "document", compute_states
        self._stream = np.zeros(0, np.uint16)  # the learned tokens
        # Tokens and the states that predict them, of length 1: the last learned ones, then those of a prefix.
        self._tokens, self._states = np.zeros(0, np.uint16), np.zeros((0, d_model), np.float32)
        self._n_kept, self._n_ahead = 0, 0

    def learn(self, chunk: ScoredChunk) -> None:
        """Record a chunk's tokens, before the weights change. Chunks are given in the stream's order, none left out."""
        if not len(self._stream):
            self._stream = chunk.tokens[:1]
        self._extend(self._stream, chunk.tokens[1:])
        self._stream = np.append(self._stream, chunk.tokens[1:])
        end = self._n_kept + len(chunk.tokens) - 1
        begin = max(0, end - self._n_cached)
        self._n_kept, self._n_ahead = end - begin, 0
        self._tokens[: self._n_kept] = self._tokens[begin:end].copy()
        self._states[: self._n_kept] = self._states[begin:end].copy()

    def mix_nll(
        self,
        prefix: np.ndarray,
        chunk: np.ndarray,
        nll: np.ndarray,
        states: np.ndarray,
        hints: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the mixture's nll of ``chunk`` [n], with ``hints`` also theirs [2, n]: fp32. nll: the model's, alike.

        prefix: the stream before the chunk. states: the model's, at each token of the chunk [n, D].
        """
        self._extend(prefix, chunk[:0])
        first = self._put(prefix, chunk, states)
        targets = chunk if hints is None else np.stack([chunk, hints])
        probs = np.exp(-nll.astype(np.float64))
        for begin in range(0, len(chunk), _BLOCK):
            at = slice(begin, min(begin + _BLOCK, len(chunk)))
            tokens, shares, model_share = self._weigh(first + at.start, first + at.stop, prefix[0])
            hits = np.where(tokens == targets[..., at, None], shares, 0).sum(-1)
            probs[..., at] = model_share * probs[..., at] + hits
        return -np.log(probs).astype(np.float32)

    def mix_probs_(self, prefix: np.ndarray, probs_V: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Turn the model's distribution of the token after ``prefix`` into the mixture, in place; float64 [V].

        states: the model's that predict the last tokens of the prefix, as many as are at hand, and that token [k, D].
        """
        chunk = np.append(prefix[max(1, len(self._stream)) :], np.zeros(1, prefix.dtype))[-len(states) :]
        known = prefix[: len(prefix) + 1 - len(chunk)]  # the chunk's 0 stands for a token that nothing follows from
        self._extend(known, chunk[:0])
        place = self._put(known, chunk, states[-len(chunk) :]) + len(chunk) - 1
        tokens, shares, model_share = self._weigh(place, place + 1, prefix[0])
        probs_V *= model_share
        probs_V += np.bincount(tokens, shares[0], len(probs_V))
        return probs_V

    def mix_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray, states: np.ndarray) -> np.ndarray:
        """``mix_probs_`` of logarithms: fp32 [V]."""
        return np.log(self.mix_probs_(prefix, np.exp(log_probs.astype(np.float64)), states)).astype(np.float32)

    def _put(self, prefix: np.ndarray, chunk: np.ndarray, states: np.ndarray) -> int:
        """Record the tokens after ``prefix`` with their states, forget those after them, and return their place."""
        begin = self._n_kept + len(prefix) - max(1, len(self._stream))
        end = begin + len(chunk)
        if end > len(self._tokens):
            self._tokens = np.resize(self._tokens, 2 * end)
            self._states = np.resize(self._states, (2 * end, self._states.shape[1]))
        self._tokens[begin:end] = chunk
        self._states[begin:end] = states / np.linalg.norm(states, axis=-1, keepdims=True)
        self._n_ahead = end - self._n_kept
        return begin

    def _extend(self, prefix: np.ndarray, chunk: np.ndarray) -> None:
        """Record ``chunk`` after ``prefix``, and of the prefix what is not recorded yet."""
        stream, n_learned = np.append(prefix, chunk), max(1, len(self._stream))
        targets = stream[n_learned:]
        ahead = self._tokens[self._n_kept : self._n_kept + min(self._n_ahead, len(targets))]
        differs = np.flatnonzero(ahead != targets[: len(ahead)])
        n_known = int(differs[0]) + 1 if len(differs) else len(ahead)  # a state follows from the tokens before it
        ahead[:] = targets[: len(ahead)]
        self._n_ahead = n_known
        if n_known < len(targets):
            known, new = stream[: n_learned + n_known], targets[n_known:]
            self._put(known, new, self._compute_states(known, new))

    def _weigh(self, begin: int, end: int, bos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(the cached tokens [m], the share of each in the mixture at places begin to end [n, m], the model's [n])"""
        first = max(0, begin - self._n_cached)
        if self._is_within_documents:  # the token that starts a document is the last of the one before
            starts = np.flatnonzero(self._tokens[first:begin] == bos)
            first += int(starts[-1]) + 1 if len(starts) else 0
        tokens = self._tokens[first:end]
        states = torch.from_numpy(self._states[first:end])  # NumPy's threads would hold up torch's
        weights = (states[begin - first :] @ states.T).numpy()
        ages = np.arange(begin, end, dtype=np.float32)[:, None] - np.arange(first, end, dtype=np.float32)
        np.exp(self._theta * (weights - 1) - ages.clip(0) / self._decay_tokens, out=weights)
        weights[(ages < 1) | (ages > self._n_cached)] = 0
        if self._is_within_documents:
            documents = np.cumsum(tokens == bos) - (tokens == bos)
            weights[documents[begin - first :, None] != documents] = 0
        sums, tops = weights.sum(-1, dtype=np.float64), weights.max(-1).astype(np.float64) ** self._exponent
        share = tops / (tops + self._escape_weight)
        return tokens, weights * (share / np.maximum(sums, 1e-300))[:, None], 1 - share
