"""golf/inference/ngram_memory.py against a slow reference, and conditions C1 to C3"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.inference.interface import ScoredChunk
from golf.inference.ngram_memory import NgramMemory

V = 5
CFG = SimpleNamespace(orders=(1, 2, 4), escape_weights=(3.0, 1.5, 0.25), max_successors=4, recency_exponent=1.4)
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, V, 90).astype(np.uint16)
LOG_PROBS = np.log(RNG.dirichlet(np.ones(V), 89))  # the model's, at each target


def reference_probs(tokens, cfg=CFG) -> np.ndarray:
    """float64 [targets, V]: the mixture by its definition, each context found by comparing lists."""
    ids = tokens.tolist()
    successors: dict[tuple, list[int]] = {}
    rows = []
    for i in range(1, len(ids)):
        keys = [tuple(ids[i - k : i]) for k in cfg.orders if k <= i]
        probs = np.exp(LOG_PROBS[i - 1])
        for key, escape_weight in zip(keys, cfg.escape_weights, strict=False):
            if kept := successors.get(key, [])[-cfg.max_successors :]:
                estimate = np.zeros(V)
                for age, token in enumerate(reversed(kept)):
                    estimate[token] += (age + 1) ** -cfg.recency_exponent
                trust = len(kept) / (len(kept) + escape_weight * len(set(kept)))
                probs = trust * estimate / estimate.sum() + (1 - trust) * probs
        rows.append(probs)
        for key in reversed(keys):
            kept = successors.setdefault(key, [])
            was_known = ids[i] in kept[-cfg.max_successors :]
            kept.append(ids[i])
            if was_known:
                break
    return np.array(rows)


def mix_in_chunks(chunk_tokens: int, n_learned: int | None = None, tokens=TOKENS) -> np.ndarray:
    """The nll of every target, in chunks, of which the first ``n_learned`` are learned (all without it)."""
    memory, parts = NgramMemory(CFG), []
    for index, begin in enumerate(range(0, len(tokens) - 1, chunk_tokens)):
        prefix, chunk = tokens[: begin + 1], tokens[begin + 1 : begin + 1 + chunk_tokens]
        nll = -LOG_PROBS[np.arange(begin, begin + len(chunk)), chunk]
        parts.append(memory.mix_nll(prefix, chunk, nll))
        if n_learned is None or index < n_learned:
            memory.learn(ScoredChunk(index, tokens[begin : begin + 1 + len(chunk)], False, ""))
    return np.concatenate(parts)


@pytest.mark.parametrize("chunk_tokens", [1, 3, 16, 89])
def test_scores_are_the_mixture_by_its_definition_however_the_stream_is_cut(chunk_tokens):
    expected = -np.log(reference_probs(TOKENS)[np.arange(89), TOKENS[1:]])
    np.testing.assert_allclose(mix_in_chunks(chunk_tokens), expected, atol=1e-6)


@pytest.mark.parametrize("n_learned", [0, 1, 3])
def test_a_score_is_a_function_of_the_prefix_whatever_was_learned_of_it(n_learned):
    np.testing.assert_array_equal(mix_in_chunks(16, n_learned), mix_in_chunks(16))


@given(st.lists(st.integers(0, V - 1), min_size=2, max_size=60), st.integers(1, 7))
def test_predictions_from_the_prefix_alone_are_distributions_that_hold_the_score(ids, chunk_tokens):
    tokens = np.array(ids, np.uint16)
    memory = NgramMemory(CFG)
    for begin in range(0, len(tokens) - 1, chunk_tokens):
        prefix, chunk = tokens[: begin + 1], tokens[begin + 1 : begin + 1 + chunk_tokens]
        model_rows = LOG_PROBS[begin : begin + len(chunk)]
        nll = memory.mix_nll(prefix, chunk, -model_rows[range(len(chunk)), chunk])
        for row in range(len(chunk)):
            mixed = memory.mix_log_probs(tokens[: begin + 1 + row], model_rows[row])
            assert np.exp(mixed.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
            assert mixed[chunk[row]] == pytest.approx(-nll[row], abs=1e-6)
        memory.learn(ScoredChunk(0, tokens[begin : begin + 1 + len(chunk)], False, ""))


def test_text_that_comes_again_costs_almost_nothing():
    tokens = np.tile(TOKENS[:45], 2)
    nll = mix_in_chunks(16, tokens=tokens)
    assert nll[50:].mean() < 0.35 < 1 < nll[:44].mean()


@given(st.permutations(range(8)), st.integers(1, 70))
def test_predictions_do_not_depend_on_their_order(places, n_learned):
    memory = NgramMemory(CFG)
    memory.learn(ScoredChunk(0, TOKENS[: n_learned + 1], False, ""))
    for place in places:
        end = n_learned + 1 + place
        fresh = NgramMemory(CFG)
        expected = fresh.mix_log_probs(TOKENS[:end], LOG_PROBS[end - 1])
        np.testing.assert_array_equal(memory.mix_log_probs(TOKENS[:end], LOG_PROBS[end - 1]), expected)
