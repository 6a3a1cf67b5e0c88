"""golf/inference/neural_cache.py against a slow reference, and conditions C1 to C3"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.inference.interface import ScoredChunk
from golf.inference.neural_cache import NeuralCache

V, D, BOS = 5, 8, 0
CFG = SimpleNamespace(
    scope="stream",
    cache_tokens=20,
    cache_theta=6.0,
    cache_decay_tokens=9,
    cache_exponent=0.4,
    cache_escape_weight=2.0,
)
WITHIN_DOCUMENTS = SimpleNamespace(**{**vars(CFG), "scope": "document"})
RNG = np.random.default_rng(0)
TOKENS = np.append(BOS, RNG.choice(V, 89, p=[0.06, 0.4, 0.3, 0.14, 0.1])).astype(np.uint16)
LOG_PROBS = np.log(RNG.dirichlet(np.ones(V), 90))  # the model's, at each target
ROWS = RNG.normal(size=(V, V, D))


def compute_states(prefix, chunk) -> np.ndarray:
    """fp32 [n, D]: states that depend on the two tokens before."""
    stream = np.append(prefix, chunk).tolist()
    places = range(len(prefix), len(stream))
    return np.array([ROWS[stream[i - 1], stream[max(0, i - 2)]] for i in places], np.float32).reshape(-1, D)


def reference_probs(tokens, cfg, chunk_tokens=89, window_tokens=89, learns=True) -> np.ndarray:
    """float64 [targets, V]: the mixture by its definition.

    Cached are the positions of chunks before the target's, and those of the target's window, which holds the last
    ``window_tokens`` positions.
    """
    states = compute_states(tokens[:1], tokens[1:]).astype(np.float64)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    rows, start = [], 0
    for i in range(len(tokens) - 1):
        if tokens[i] == BOS:
            start = i
        first = max(0, i - cfg.cache_tokens, start if cfg.scope == "document" else 0)
        n_learned = i // chunk_tokens * chunk_tokens if learns else 0
        at = np.array([j for j in range(first, i) if j < n_learned or j > i - window_tokens], int)
        ages = i - at
        probs = np.exp(LOG_PROBS[i])
        weights = np.exp(cfg.cache_theta * (states[at] @ states[i] - 1) - ages / cfg.cache_decay_tokens)
        if len(weights):
            top = weights.max() ** cfg.cache_exponent
            share = top / (top + cfg.cache_escape_weight)
            q = [weights[tokens[at + 1] == token].sum() / weights.sum() for token in range(V)]
            probs = share * np.array(q) + (1 - share) * probs
        rows.append(probs)
    return np.array(rows)


def learn(cache: NeuralCache, index: int, begin: int, end: int) -> None:
    """Let the cache learn the targets begin <= i < end."""
    chunk = ScoredChunk(index, TOKENS[begin : end + 1], False, "")
    cache.learn(chunk, compute_states(TOKENS[: begin + 1], TOKENS[begin + 1 : end + 1]))


def window_states(prefix: np.ndarray, n: int) -> np.ndarray:
    """The states that predict the last n - 1 tokens of ``prefix`` and the next token, fewer where there are fewer."""
    begin = max(1, len(prefix) + 1 - n)
    return compute_states(prefix[:begin], np.append(prefix[begin:], 0))


def mix_in_chunks(chunk_tokens: int, window_tokens: int, cfg=CFG, learns=True) -> np.ndarray:
    """The nll of every target and of a hint, where each target has a window of its own."""
    cache, columns = NeuralCache(cfg, D), []
    for index, begin in enumerate(range(0, 89, chunk_tokens)):
        end = min(begin + chunk_tokens, 89)
        for place in range(begin, end):
            stream, hints = TOKENS[: place + 2], (TOKENS[place + 1 : place + 2] + 1) % V
            nll = -LOG_PROBS[[place], np.stack([stream[-1:], hints])]
            states = window_states(stream[:-1], window_tokens)
            columns.append(cache.mix_nll(stream, nll, states, hints))
            np.testing.assert_array_equal(cache.mix_nll(stream, nll[0], states), columns[-1][0])
        if learns:
            learn(cache, index, begin, end)
    return np.concatenate(columns, 1)


@pytest.mark.parametrize("cfg", [CFG, WITHIN_DOCUMENTS])
@pytest.mark.parametrize(
    ("chunk_tokens", "window_tokens", "learns"), [(1, 1, True), (7, 5, True), (30, 12, True), (7, 12, False)]
)
def test_scores_are_the_mixture_by_its_definition(chunk_tokens, window_tokens, learns, cfg):
    probs = reference_probs(TOKENS, cfg, chunk_tokens, window_tokens, learns)
    expected = -np.log(probs[np.arange(89), np.stack([TOKENS[1:], (TOKENS[1:] + 1) % V])])
    np.testing.assert_allclose(mix_in_chunks(chunk_tokens, window_tokens, cfg, learns), expected, atol=2e-5)


@pytest.mark.parametrize("cfg", [CFG, WITHIN_DOCUMENTS])
def test_the_tokens_of_one_window_are_scored_together_as_one_by_one(cfg):
    cache, probs = NeuralCache(cfg, D), reference_probs(TOKENS, cfg)
    learn(cache, 0, 0, 40)
    rows = np.arange(50, 89)
    nll = cache.mix_nll(TOKENS, -LOG_PROBS[rows, TOKENS[51:]], compute_states(TOKENS[:1], TOKENS[1:]))
    np.testing.assert_allclose(nll, -np.log(probs[rows, TOKENS[51:]]), atol=2e-5)


@pytest.mark.parametrize("cfg", [CFG, WITHIN_DOCUMENTS])
def test_predictions_are_the_distributions_that_hold_the_scores(cfg):
    cache, probs = NeuralCache(cfg, D), reference_probs(TOKENS, cfg, 30, 12)
    for place in range(89):
        prefix = TOKENS[: place + 1]
        mixed = cache.mix_log_probs(prefix, LOG_PROBS[place], window_states(prefix, 12))
        np.testing.assert_allclose(np.exp(mixed), probs[place], atol=2e-6)
        if (place + 1) % 30 == 0:
            learn(cache, place // 30, place - 29, place + 1)


def test_a_steep_decay_overflows_nowhere():
    with np.errstate(over="raise"):
        mix_in_chunks(89, 89, SimpleNamespace(**{**vars(CFG), "cache_decay_tokens": 0.5}))


@given(st.permutations(range(1, 9)), st.integers(1, 70))
def test_predictions_do_not_depend_on_their_order_or_on_other_prefixes(places, n_learned):
    cache = NeuralCache(CFG, D)
    learn(cache, 0, 0, n_learned)
    for place in places:
        prefix = TOKENS[: n_learned + 1 + place]
        other = np.append(prefix[:-1], (prefix[-1] + 1) % V).astype(np.uint16)
        cache.mix_log_probs(other, LOG_PROBS[0], window_states(other, 1 + place % 3))
        fresh = NeuralCache(CFG, D)
        learn(fresh, 0, 0, n_learned)
        expected = fresh.mix_log_probs(prefix, LOG_PROBS[0], window_states(prefix, 20))
        mixed = cache.mix_log_probs(prefix, LOG_PROBS[0], window_states(prefix, 20))
        np.testing.assert_allclose(mixed, expected, atol=1e-6)
