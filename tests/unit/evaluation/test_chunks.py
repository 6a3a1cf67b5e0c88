"""golf/evaluation/chunks.py, and passes in the order of documents"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.distributed.context import single_process
from golf.evaluation.chunks import get_chunk_tokens, list_chunk_ends
from golf.evaluation.ledger import Ledger
from golf.evaluation.scoring_loop import score_stream
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress

BOS = 1
RNG = np.random.default_rng(0)
DOCUMENTS = [
    np.append(BOS, RNG.choice(60, n, p=np.append(0, RNG.dirichlet(np.ones(59)))) + 2) for n in (70, 1, 33, 120, 64)
]
LORA = SimpleNamespace(
    rank=3, alpha=6.0, beta1=0.0, beta2=0.99, weight_decay=0.5, seed=5,
    q=True, k=True, v=True, o=True, mlp=True, head=True,
)  # fmt: skip
TTT_CFG = SimpleNamespace(method="lora", lora=LORA, phased=None, lr=0.02, epochs=1, batch_tokens=1024)
MEMORY_CFG = SimpleNamespace(
    scope="document", orders=(1, 3), escape_weights=(2.0, 0.5), max_successors=4, recency_exponent=1.4,
    cache_tokens=100, cache_theta=8.0, cache_decay_tokens=30.0, cache_exponent=0.4, cache_escape_weight=2.0,
    tilt_order=2, tilt_beta=2.625, tilt_threshold=0.5, hedge=(0.5, 1.0, 1.5), hedge_rate=0.35,
)  # fmt: skip


@given(st.lists(st.integers(1, 4), min_size=1, max_size=80), st.integers(1, 9))
def test_each_target_is_in_one_chunk_and_no_chunk_crosses_a_document(ids, chunk_tokens):
    tokens = np.array([BOS, *ids], np.uint16)
    for order in ("stream", "documents"):
        ends = list_chunk_ends(tokens, chunk_tokens, order)
        sizes = np.diff(ends, prepend=0)
        assert ends[-1] == len(ids)
        assert (sizes >= 1).all()
        assert (sizes <= chunk_tokens).all()
    for begin, end in zip([0, *ends], ends, strict=False):
        assert BOS not in tokens[begin + 1 : end], "at most the last target starts the next document"
        assert end - begin == chunk_tokens or end == len(ids) or tokens[end] == BOS


def score_documents(predictor, order) -> dict[int, np.ndarray]:
    """By document: the nll of its tokens after the first, and of the token that starts the next one."""
    stream = np.concatenate([DOCUMENTS[i] for i in order] + [[BOS, 7]]).astype(np.uint16)
    settings = {"stride": 8, "ttt_cfg": TTT_CFG, "memory_cfg": MEMORY_CFG, "order": "documents"}
    predictor.reset(**settings)
    ledger = Ledger("ttt", BOS)
    score_stream(
        predictor, stream, np.ones(len(stream) - 1), ledger, chunk_tokens=32, order="documents",
        progress=Progress("t", 1, "x", quiet=True),
    )  # fmt: skip
    nll, second = ledger.to_data().nll, predictor.reset(**settings)
    row = 0
    for index in range(len(ledger.nll)):  # a predictor that never scores says the same
        chunk = stream[row : row + len(ledger.nll[index]) + 1]
        assert -second.predict(stream[: row + 1])[chunk[1]] == pytest.approx(nll[row], abs=2e-5)
        second.update(ScoredChunk(index, chunk, False, ""))
        row += len(chunk) - 1
    return dict(zip(order, np.split(nll, np.cumsum([len(DOCUMENTS[i]) for i in order])), strict=False))


def test_a_documents_scores_do_not_depend_on_the_order_bit_for_bit(tiny_model_config):
    rng = torch.Generator().manual_seed(0)
    model = GPT(tiny_model_config).init_weights(rng)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=rng)
    predictor = GolfPredictor(model, single_process(), eval_batch_tokens=128)
    forward, backward = (score_documents(predictor, order) for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]))
    for index in range(5):
        np.testing.assert_array_equal(forward[index], backward[index])
    predictor.reset(stride=8, order="documents")
    fixed = predictor.score(DOCUMENTS[3][:1].astype(np.uint16), DOCUMENTS[3][1:].astype(np.uint16))
    assert np.abs(fixed[64:] - forward[3][64:-1]).max() > 0.01, "memory, tilt and adapters act"


def test_only_modes_that_neither_learn_nor_are_proven_have_longer_chunks():
    sizes = {mode: get_chunk_tokens(mode, "ttt", 256) for mode in ("plain", "sliding", "ttt")}
    assert sizes["ttt"] == get_chunk_tokens("sliding", "sliding", 256) == get_chunk_tokens("ttt", "sliding", 256) == 256
    assert sizes["plain"] == sizes["sliding"] > 256
    assert get_chunk_tokens("plain", "ttt", 32_768) == 32_768
