"""golf/inference/document_memory.py: an n-gram memory that begins empty with each document"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from golf.inference.document_memory import DocumentMemory
from golf.inference.interface import ScoredChunk
from golf.inference.ngram_memory import NgramMemory

V, BOS = 5, 0
CFG = SimpleNamespace(orders=(1, 2, 4), escape_weights=(3.0, 1.5, 0.25), max_successors=4, recency_exponent=1.4)
RNG = np.random.default_rng(0)
TOKENS = np.append(BOS, RNG.choice(V, 120, p=[0.06, 0.5, 0.3, 0.1, 0.04])).astype(np.uint16)
LOG_PROBS = np.log(RNG.dirichlet(np.ones(V), 121))  # the model's after each prefix


def score_documents_apart() -> np.ndarray:
    """Each document by a memory of its own, which also scores the token that starts the next one."""
    starts = [*np.flatnonzero(TOKENS == BOS), len(TOKENS) - 1]
    parts = []
    for start, end in itertools.pairwise(starts):
        chunk = TOKENS[start + 1 : end + 1]
        nll = -LOG_PROBS[np.arange(start, end), chunk]
        parts.append(NgramMemory(CFG).mix_nll(TOKENS[start : start + 1], chunk, nll) if len(chunk) else nll)
    return np.concatenate(parts)


@pytest.mark.parametrize("chunk_tokens", [1, 7, 120])
def test_each_document_is_scored_as_if_it_were_alone(chunk_tokens):
    memory, second, parts = DocumentMemory(lambda: NgramMemory(CFG)), DocumentMemory(lambda: NgramMemory(CFG)), []
    for index, begin in enumerate(range(0, 120, chunk_tokens)):
        prefix, chunk = TOKENS[: begin + 1], TOKENS[begin + 1 : begin + 1 + chunk_tokens]
        rows = np.arange(begin, begin + len(chunk))
        nll = memory.mix_nll(prefix, chunk, -LOG_PROBS[rows, chunk])
        parts.append(nll)
        hints = (chunk + 1) % V
        pairs = memory.mix_pair_nll(prefix, chunk, hints, -LOG_PROBS[rows, np.stack([chunk, hints])])
        for row, position in enumerate(rows.tolist()):
            predicted = second.mix_log_probs(TOKENS[: position + 1], LOG_PROBS[position])
            assert np.exp(predicted.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
            expected = [nll[row], -predicted[hints[row]]]
            np.testing.assert_allclose([-predicted[chunk[row]], pairs[1, row]], expected, atol=1e-6)
            assert pairs[0, row] == pytest.approx(nll[row], abs=1e-6)
        scored_chunk = ScoredChunk(index, TOKENS[begin : begin + 1 + chunk_tokens], False, "")
        memory.learn(scored_chunk)
        second.learn(scored_chunk)
    np.testing.assert_allclose(np.concatenate(parts), score_documents_apart(), atol=1e-6)
