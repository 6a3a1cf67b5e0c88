"""golf/inference/token_tilt.py against a slow reference, and conditions C1 to C3"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.inference.interface import ScoredChunk
from golf.inference.token_tilt import TokenTilt

V, BOS = 5, 0
CFG = SimpleNamespace(
    scope="stream",
    tilt_order=2,
    tilt_beta=2.625,
    tilt_threshold=0.6,
    hedge=(0.5, 0.75, 1.0, 1.25, 1.5),
    hedge_rate=0.35,
)
RNG = np.random.default_rng(0)
TOKENS = np.append(BOS, RNG.choice(V, 120, p=[0.04, 0.5, 0.3, 0.1, 0.06])).astype(np.uint16)
LOG_PROBS = np.log(RNG.dirichlet(np.ones(V), 121))  # the model's after each prefix


def with_keys(**changes) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(CFG), **changes})


def reference_probs(tokens, cfg=CFG) -> np.ndarray:
    """float64 [targets, V]: the tilt by its definition, each context found by comparing lists."""
    ids = tokens.tolist()
    betas = [cfg.tilt_beta * multiple for multiple in cfg.hedge or (1,)]
    rows, sums, document = [], [0.0] * len(betas), 0
    for t in range(1, len(ids)):
        if ids[t - 1] == BOS:
            document, sums = t - 1, [0.0] * len(betas)
        begin = document if cfg.scope == "document" else 0
        context = ids[t - cfg.tilt_order : t]
        top, counts = None, {}
        for s in range(max(begin + cfg.tilt_order, cfg.tilt_order), t):
            if t >= begin + cfg.tilt_order and ids[s - cfg.tilt_order : s] == context:
                counts[ids[s]] = counts.get(ids[s], 0) + 1
                top = ids[s] if top is None or counts[ids[s]] > counts[top] else top
        model = np.exp(LOG_PROBS[t - 1])
        experts = []
        for beta in betas:
            tilted = model.copy()
            if counts and counts[top] / sum(counts.values()) >= cfg.tilt_threshold:
                tilted[top] *= np.exp(beta)
            experts.append(tilted / tilted.sum())
        weights = np.exp([-cfg.hedge_rate * total for total in sums])
        rows.append(weights / weights.sum() @ np.array(experts))
        sums = [total - np.log(expert[ids[t]]) for total, expert in zip(sums, experts, strict=True)]
    return np.array(rows)


def make_tilt(tokens, cfg=CFG) -> TokenTilt:
    def measure(prefix, chunk, hints):
        np.testing.assert_array_equal(prefix, tokens[: len(prefix)])
        rows = np.arange(len(prefix) - 1, len(prefix) - 1 + len(chunk))
        nll = -LOG_PROBS[rows, chunk]
        return nll if hints is None else np.stack([nll, -LOG_PROBS[rows, hints]])

    return TokenTilt(cfg, measure)


def iter_chunks(tokens, chunk_tokens):
    for index, begin in enumerate(range(0, len(tokens) - 1, chunk_tokens)):
        yield tokens[: begin + 1], ScoredChunk(index, tokens[begin : begin + 1 + chunk_tokens], False, "")


def tilt_in_chunks(chunk_tokens: int, n_learned: int | None = None, tokens=TOKENS, cfg=CFG) -> np.ndarray:
    """The nll of every target, in chunks, of which the first ``n_learned`` are learned (all without it)."""
    tilt, parts = make_tilt(tokens, cfg), []
    for prefix, chunk in iter_chunks(tokens, chunk_tokens):
        parts.append(tilt.score(prefix, chunk.tokens[1:]))
        if n_learned is None or chunk.index < n_learned:
            tilt.learn(chunk)
    return np.concatenate(parts)


@pytest.mark.parametrize("scope", ["stream", "document"])
@pytest.mark.parametrize("hedge", [CFG.hedge, ()])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 16, 120])
def test_scores_are_the_tilt_by_its_definition_however_the_stream_is_cut(chunk_tokens, hedge, scope):
    cfg = with_keys(hedge=hedge, scope=scope)
    expected = -np.log(reference_probs(TOKENS, cfg)[np.arange(120), TOKENS[1:]])
    assert np.abs(expected + LOG_PROBS[np.arange(120), TOKENS[1:]]).max() > 0.5
    np.testing.assert_allclose(tilt_in_chunks(chunk_tokens, cfg=cfg), expected, atol=1e-6)


@pytest.mark.parametrize("n_learned", [0, 1, 3])
def test_a_score_is_a_function_of_the_prefix_whatever_was_learned_of_it(n_learned):
    np.testing.assert_allclose(tilt_in_chunks(16, n_learned), tilt_in_chunks(16), atol=1e-6)


@given(
    st.lists(st.integers(0, V - 1), min_size=1, max_size=60), st.integers(1, 7), st.sampled_from(["stream", "document"])
)
def test_a_predictor_that_never_scores_gives_distributions_that_hold_the_scores(ids, chunk_tokens, scope):
    tokens, cfg = np.array([BOS, *ids], np.uint16), with_keys(tilt_order=1, scope=scope)
    nll = tilt_in_chunks(chunk_tokens, tokens=tokens, cfg=cfg)
    second, row = make_tilt(tokens, cfg), 0
    for _, chunk in iter_chunks(tokens, chunk_tokens):
        for _ in chunk.tokens[1:]:
            if row % 3 != 1:  # some places of a chunk, as a proof asks for
                tilted = second.tilt_log_probs(tokens[: row + 1], LOG_PROBS[row])
                assert np.exp(tilted.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
                assert tilted[tokens[row + 1]] == pytest.approx(-nll[row], abs=1e-6)
            row += 1
        second.learn(chunk)


def test_a_later_token_changes_no_score():
    changed = TOKENS.copy()
    changed[70:] = 3
    np.testing.assert_array_equal(tilt_in_chunks(16, tokens=changed)[:69], tilt_in_chunks(16)[:69])


def test_within_documents_another_document_before_changes_no_score():
    changed = TOKENS.copy()
    second = int(np.flatnonzero(TOKENS[1:] == BOS)[0]) + 1
    changed[1:second] = changed[1:second][::-1]
    cfg = with_keys(scope="document")
    before, after = (tilt_in_chunks(16, tokens=tokens, cfg=cfg) for tokens in (TOKENS, changed))
    np.testing.assert_allclose(after[second:], before[second:], atol=1e-6)
    assert not np.allclose(tilt_in_chunks(16, tokens=changed)[second:], tilt_in_chunks(16)[second:])
