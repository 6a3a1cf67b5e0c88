"""benchmarks/kneser_ney.py, ngram_file.py: the model is modified Kneser-Ney, its file a distribution"""

import itertools
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import kneser_ney
from ngram_file import Level, NgramModel, unpack

BOS, VOCAB_SIZE, ORDER = 0, 9, 4


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """Documents of a Markov chain with skewed transitions, each of them after a BOS."""
    rng = np.random.default_rng(3)
    transitions = rng.dirichlet(np.full(VOCAB_SIZE - 1, 0.3), size=VOCAB_SIZE)
    stream = []
    for _ in range(40):
        stream.append(BOS)
        for _ in range(rng.integers(5, 40)):
            stream.append(1 + rng.choice(VOCAB_SIZE - 1, p=transitions[stream[-1]]))
    return np.array(stream, dtype=np.uint16)


@pytest.fixture(scope="module")
def levels(tokens):
    return kneser_ney.count_ngrams(tokens, BOS, VOCAB_SIZE, ORDER)


def split_documents(tokens: np.ndarray) -> list[list[int]]:
    """Each document with its BOS, and the BOS of the next as its last token."""
    starts = [*np.flatnonzero(tokens == BOS).tolist(), len(tokens)]
    return [tokens[start : stop + 1].tolist() for start, stop in itertools.pairwise(starts)]


def reference_model(tokens: np.ndarray):
    """p(w | h) by the textbook: dictionaries, one n-gram at a time."""
    raw = [Counter() for _ in range(ORDER + 1)]
    for document in split_documents(tokens):
        for order in range(1, ORDER + 1):
            for start in range(len(document) - order + 1):
                raw[order][tuple(document[start : start + order])] += 1
    counts = [Counter(), *(Counter() for _ in range(ORDER - 1)), raw[ORDER]]
    for order in range(1, ORDER):
        left = defaultdict(set)
        for ngram in raw[order + 1]:
            left[ngram[1:]].add(ngram[0])
        for ngram, count in raw[order].items():
            counts[order][ngram] = count if order > 1 and ngram[0] == BOS else len(left[ngram])
    discounts = [None, *(kneser_ney.estimate_discounts(np.array([*c.values()])) for c in counts[1:])]

    def probability(context: tuple[int, ...], token: int) -> float:
        order = len(context) + 1
        siblings = {ngram: c for ngram, c in counts[order].items() if ngram[:-1] == context}
        total = sum(siblings.values())
        taken = {ngram: discounts[order][min(c, 3)] for ngram, c in siblings.items()}
        lower = probability(context[1:], token) if context else 1 / VOCAB_SIZE
        if not total:
            return lower
        ngram = (*context, token)
        own = siblings.get(ngram, 0) - taken.get(ngram, 0)
        return own / total + sum(taken.values()) / total * lower

    return probability


def contexts_of(tokens: np.ndarray):
    """The context of each target: at most ORDER - 1 tokens, not beyond BOS."""
    for position in range(1, len(tokens)):
        start = max(0, position - ORDER + 1)
        window = tokens[start:position].tolist()
        last_bos = max((i for i, token in enumerate(window) if token == BOS), default=0)
        yield tuple(window[last_bos:])


def test_without_pruning_the_scores_are_those_of_a_slow_reference(tokens, levels):
    kept = [np.ones(len(level.keys), dtype=bool) for level in levels]
    model = kneser_ney.estimate(levels, VOCAB_SIZE, kept)
    exact = [Level(level.keys, weights) for level, weights in zip(levels, model.weights, strict=True)]
    held_out = np.concatenate([tokens[:120], np.random.default_rng(1).integers(0, VOCAB_SIZE, 80).astype(np.uint16)])
    nll = NgramModel(model.unigrams, np.arange(VOCAB_SIZE), exact).score(held_out, BOS)
    probability = reference_model(tokens)
    expected = [
        -np.log(probability(context, int(token)))
        for context, token in zip(contexts_of(held_out), held_out[1:], strict=True)
    ]
    np.testing.assert_allclose(nll, expected, rtol=1e-9)


@pytest.mark.parametrize("limit_bytes", [700, 100_000])
def test_the_probabilities_of_a_packed_model_add_up_to_one_after_any_context(levels, limit_bytes):
    model = unpack(kneser_ney.fit(levels, VOCAB_SIZE, limit_bytes, width=0.5))
    contexts = itertools.chain.from_iterable(itertools.product(range(VOCAB_SIZE), repeat=n) for n in (1, 2, 3))
    for context in contexts:
        streams = [np.array([*context, token], dtype=np.uint16) for token in range(VOCAB_SIZE)]
        total = sum(np.exp(-model.score(stream, BOS)[-1]) for stream in streams)
        assert total == pytest.approx(1, abs=1e-12)


def test_a_file_holds_the_chosen_ngrams_and_their_weights_to_half_a_bin(levels):
    kept = [np.ones(len(level.keys), dtype=bool) for level in levels]
    estimate, width = kneser_ney.estimate(levels, VOCAB_SIZE, kept), 0.2
    model = unpack(kneser_ney.pack(levels, VOCAB_SIZE, estimate, width))
    tokens_of_rank = np.argsort(model.ranks)
    nodes, packed_nodes = np.arange(VOCAB_SIZE)[:, None], tokens_of_rank[:, None]  # n-grams of an order, as tokens
    for level, weights, packed in zip(levels, estimate.weights, model.levels, strict=True):
        nodes = np.column_stack([nodes[level.keys // VOCAB_SIZE], level.keys % VOCAB_SIZE])
        last = tokens_of_rank[packed.keys % VOCAB_SIZE]
        packed_nodes = np.column_stack([packed_nodes[packed.keys // VOCAB_SIZE], last])
        expected = dict(zip(map(tuple, nodes.tolist()), weights, strict=True))
        found = dict(zip(map(tuple, packed_nodes.tolist()), packed.weights, strict=True))
        assert found.keys() == expected.keys()
        assert max(abs(np.log(found[ngram] / expected[ngram])) for ngram in found) < width


def test_a_smaller_file_has_fewer_ngrams(levels):
    n_ngrams = []
    for limit_bytes in (300, 500, 100_000):
        data = kneser_ney.fit(levels, VOCAB_SIZE, limit_bytes, width=0.5)
        assert 0 < len(data) <= limit_bytes
        n_ngrams.append(sum(len(level.keys) for level in unpack(data).levels))
    assert n_ngrams == sorted(set(n_ngrams)), "each size has more than the one before"


def test_no_model_fits_in_a_few_bytes(levels):
    assert kneser_ney.fit(levels, VOCAB_SIZE, 20, width=0.5) == b""


def test_pruned_ngrams_count_in_their_suffix(levels):
    """With all of the highest order pruned, the order below is the highest, with raw counts."""
    kept = [np.ones(len(level.keys), dtype=bool) for level in levels]
    kept[-1][:] = False
    pruned = kneser_ney.estimate(levels, VOCAB_SIZE, kept)
    shorter = kneser_ney.estimate(levels[:-1], VOCAB_SIZE, kept[:-1])
    for one, other in zip(pruned.weights, shorter.weights, strict=False):
        np.testing.assert_allclose(one, other)
