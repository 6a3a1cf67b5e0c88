"""A neural cache: what followed when the model was in a similar state earlier (Grave et al. 2017).

The state h of a position is the model's normalized output, from which it predicts the next token. With the cosine
c_j = cos(h, h_j) to each of the last ``cache_tokens`` positions j that are cached, of which the next tokens y_j are
known,

    p(y) = λ q(y) + (1 - λ) p_0(y),    q(y) = Σ_j [y_j = y] w_j / Σ_j w_j,    w_j = exp(θ (c_j - 1) - a_j / τ),
    λ = m^κ / (m^κ + e),    m = max_j w_j,

a_j: how many tokens ago; θ: ``cache_theta``; τ: ``cache_decay_tokens``; κ: ``cache_exponent``; e:
``cache_escape_weight``; p_0: the model's distribution. If it is a distribution, so is p.

Cached are the positions of learned chunks, and of those that follow them the ones in the window that scores the
position itself, whose states come with its own. So a prediction costs the proof one forward pass of one window, and the
mixture at a position is a function of the tokens before it and of which of them are learned.
"""

# n scored tokens, k positions of a window, D width of the model, V vocabulary size

import numpy as np
import torch

from golf.inference.interface import MemorySettings, ScoredChunk

__all__ = ["NeuralCache"]


class NeuralCache:
    """Mixes the probabilities of a stream's tokens with those of the tokens that followed similar states."""

    def __init__(self, cfg: MemorySettings, d_model: int) -> None:
        assert cfg.cache_tokens is not None
        self._n_cached, self._theta = cfg.cache_tokens, np.float32(cfg.cache_theta)
        self._decay_tokens = np.float32(cfg.cache_decay_tokens)
        self._escape_weight, self._exponent = cfg.cache_escape_weight, cfg.cache_exponent
        self._is_within_documents = cfg.scope == "document"
        self._n_learned, self._n_kept = 1, 0  # tokens of the stream, whose first is given
        # Tokens and the states that predict them, of length 1: the last learned ones, then those of a window.
        self._tokens, self._states = np.zeros(0, np.uint16), np.zeros((0, d_model), np.float32)

    def learn(self, chunk: ScoredChunk, states: np.ndarray) -> None:
        """Record a chunk's tokens. Chunks are given in the stream's order, none left out.

        states: the model's, at each token of the chunk after its first, fp32 [n, D].
        """
        end = self._put(chunk.tokens[1:], states)
        self._n_learned += len(states)
        begin = max(0, end - self._n_cached)
        self._n_kept = end - begin
        self._tokens[: self._n_kept] = self._tokens[begin:end].copy()
        self._states[: self._n_kept] = self._states[begin:end].copy()

    def mix_nll(
        self, stream: np.ndarray, nll: np.ndarray, states: np.ndarray, hints: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the mixture's nll of the stream's last tokens [n], with ``hints`` [n] also theirs [2, n]: fp32.

        stream: the tokens up to the last that is scored. nll: the model's, in the shape of the result. states: the
        model's that predict the last tokens of the stream, those of the window that scores them, fp32 [k, D].
        """
        tokens, shares, model_share = self._weigh(stream[self._n_learned :], stream[0], states, nll.shape[-1])
        targets = stream[-nll.shape[-1] :]
        targets = targets if hints is None else np.stack([targets, hints])
        hits = np.where(tokens == targets[..., None], shares, 0).sum(-1)
        return -np.log(model_share * np.exp(-nll.astype(np.float64)) + hits).astype(np.float32)

    def mix_probs_(self, prefix: np.ndarray, probs_V: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Turn the model's distribution of the token after ``prefix`` into the mixture, in place; float64 [V].

        states: the model's of the window that predicts that token, which the last of them does, fp32 [k, D].
        """
        ahead = np.append(prefix[self._n_learned :], prefix[:1])  # the last stands for the token to predict
        tokens, shares, model_share = self._weigh(ahead, prefix[0], states, 1)
        probs_V *= model_share
        probs_V += np.bincount(tokens, shares[0], len(probs_V))
        return probs_V

    def mix_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray, states: np.ndarray) -> np.ndarray:
        """``mix_probs_`` of logarithms: fp32 [V]."""
        return np.log(self.mix_probs_(prefix, np.exp(log_probs.astype(np.float64)), states)).astype(np.float32)

    def _put(self, tokens: np.ndarray, states: np.ndarray) -> int:
        """Record tokens with their states after the learned ones, in place of others, and return the end of these."""
        end = self._n_kept + len(states)
        if end > len(self._tokens):
            self._tokens = np.resize(self._tokens, 2 * end)
            self._states = np.resize(self._states, (2 * end, self._states.shape[1]))
        self._tokens[self._n_kept : end] = tokens
        self._states[self._n_kept : end] = states / np.linalg.norm(states, axis=-1, keepdims=True)
        return end

    def _weigh(
        self, ahead: np.ndarray, bos: int, states: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(the cached tokens [m], the share of each in the mixture at the last n tokens [n, m], the model's [n])

        ahead: the tokens after the learned ones. states: those of a window that ends with the last of them.
        """
        own = states[-len(ahead) :]
        end = self._put(ahead[-len(own) :], own)
        tokens, cached = self._tokens[:end], torch.from_numpy(self._states[:end])  # NumPy's threads hold up torch's
        weights = (cached[-n:] @ cached.T).numpy()
        places = np.arange(end)
        places[self._n_kept :] += len(ahead) - len(own)
        ages = (places[-n:, None] - places).astype(np.float32)
        np.exp(self._theta * (weights - 1) - ages.clip(0) / self._decay_tokens, out=weights)
        weights[(ages < 1) | (ages > self._n_cached)] = 0
        if self._is_within_documents:  # the token that starts a document is the last of the one before
            stream = np.append(tokens[: self._n_kept], ahead)
            documents = (np.cumsum(stream == bos) - (stream == bos))[places]
            weights[documents[-n:, None] != documents] = 0
        sums, tops = weights.sum(-1, dtype=np.float64), weights.max(-1).astype(np.float64) ** self._exponent
        share = tops / (tops + self._escape_weight)
        return tokens, weights * (share / np.maximum(sums, 1e-300))[:, None], 1 - share
