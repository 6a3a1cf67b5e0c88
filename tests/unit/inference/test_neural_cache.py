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


def reference_probs(tokens, cfg) -> np.ndarray:
    """float64 [targets, V]: the mixture by its definition."""
    states = compute_states(tokens[:1], tokens[1:]).astype(np.float64)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    rows, start = [], 0
    for i in range(len(tokens) - 1):
        if tokens[i] == BOS:
            start = i
        first = max(0, i - cfg.cache_tokens, start if cfg.scope == "document" else 0)
        ages = np.arange(i - first, 0, -1)
        probs = np.exp(LOG_PROBS[i])
        weights = np.exp(cfg.cache_theta * (states[first:i] @ states[i] - 1) - ages / cfg.cache_decay_tokens)
        if len(weights):
            top = weights.max() ** cfg.cache_exponent
            share = top / (top + cfg.cache_escape_weight)
            q = [weights[tokens[first + 1 : i + 1] == token].sum() / weights.sum() for token in range(V)]
            probs = share * np.array(q) + (1 - share) * probs
        rows.append(probs)
    return np.array(rows)


def make_cache(cfg=CFG) -> NeuralCache:
    return NeuralCache(cfg, D, compute_states)


def last_states(prefix: np.ndarray, n: int) -> np.ndarray:
    """The states that predict the last n - 1 tokens of ``prefix`` and the next token."""
    begin = len(prefix) + 1 - n
    return compute_states(prefix[:begin], np.append(prefix[begin:], 0))


def mix_in_chunks(chunk_tokens: int, n_learned: int | None = None, cfg=CFG) -> np.ndarray:
    """The nll of every target and of a hint, in chunks, of which the first ``n_learned`` are learned (all without)."""
    cache, parts = make_cache(cfg), []
    for index, begin in enumerate(range(0, len(TOKENS) - 1, chunk_tokens)):
        prefix, chunk = TOKENS[: begin + 1], TOKENS[begin + 1 : begin + 1 + chunk_tokens]
        hints, rows = (chunk + 1) % V, np.arange(begin, begin + len(chunk))
        nll, states = -LOG_PROBS[rows, np.stack([chunk, hints])], compute_states(prefix, chunk)
        pairs = cache.mix_nll(prefix, chunk, nll, states, hints)
        np.testing.assert_array_equal(cache.mix_nll(prefix, chunk, nll[0], states), pairs[0])
        parts.append(pairs)
        if n_learned is None or index < n_learned:
            cache.learn(ScoredChunk(index, TOKENS[begin : begin + 1 + len(chunk)], False, ""))
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("cfg", [CFG, WITHIN_DOCUMENTS])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 89])
def test_scores_are_the_mixture_by_its_definition_however_the_stream_is_cut(chunk_tokens, cfg, monkeypatch):
    monkeypatch.setattr("golf.inference.neural_cache._BLOCK", 16)
    probs = reference_probs(TOKENS, cfg)
    expected = -np.log(probs[np.arange(89), np.stack([TOKENS[1:], (TOKENS[1:] + 1) % V])])
    np.testing.assert_allclose(mix_in_chunks(chunk_tokens, cfg=cfg), expected, atol=2e-5)


@pytest.mark.parametrize("n_learned", [0, 1, 3])
def test_a_score_is_a_function_of_the_prefix_whatever_was_learned_of_it(n_learned):
    np.testing.assert_allclose(mix_in_chunks(16, n_learned), mix_in_chunks(16), atol=1e-6)


@pytest.mark.parametrize("cfg", [CFG, WITHIN_DOCUMENTS])
def test_predictions_are_the_distributions_that_hold_the_scores(cfg):
    cache, stepped, probs = make_cache(cfg), make_cache(cfg), reference_probs(TOKENS, cfg)
    for place in range(1, len(TOKENS)):
        prefix = TOKENS[:place]
        for mixed in (
            np.exp(cache.mix_log_probs(prefix, LOG_PROBS[place - 1], last_states(prefix, min(place, 5)))),
            stepped.mix_probs_(prefix, np.exp(LOG_PROBS[place - 1]), last_states(prefix, 1)),
        ):
            np.testing.assert_allclose(mixed, probs[place - 1], atol=2e-6)
        if place % 30 == 0:
            for each in (cache, stepped):
                each.learn(ScoredChunk(place // 30 - 1, TOKENS[max(0, place - 31) : place], False, ""))


def test_states_that_the_score_brought_are_not_computed_again():
    cache = NeuralCache(CFG, D, lambda prefix, chunk: pytest.fail(f"asked for {len(chunk)} states"))
    for begin in (0, 16):
        prefix, chunk = TOKENS[: begin + 1], TOKENS[begin + 1 : begin + 17]
        cache.mix_nll(prefix, chunk, np.ones(16), compute_states(prefix, chunk))
        cache.learn(ScoredChunk(0, TOKENS[begin : begin + 17], False, ""))


def test_a_steep_decay_overflows_nowhere():
    with np.errstate(over="raise"):
        mix_in_chunks(89, cfg=SimpleNamespace(**{**vars(CFG), "cache_decay_tokens": 0.5}))


@given(st.permutations(range(1, 9)), st.integers(1, 70))
def test_predictions_do_not_depend_on_their_order_or_on_other_prefixes(places, n_learned):
    cache = make_cache()
    cache.learn(ScoredChunk(0, TOKENS[: n_learned + 1], False, ""))
    for place in places:
        prefix = TOKENS[: n_learned + 1 + place]
        other = np.append(prefix[:-1], (prefix[-1] + 1) % V).astype(np.uint16)
        cache.mix_log_probs(other, LOG_PROBS[0], last_states(other, 1 + place % 3))
        expected = make_cache().mix_log_probs(prefix, LOG_PROBS[0], last_states(prefix, 1))
        mixed = cache.mix_log_probs(prefix, LOG_PROBS[0], last_states(prefix, 1 + place % 4))
        np.testing.assert_allclose(mixed, expected, atol=1e-6)
