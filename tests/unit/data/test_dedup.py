"""golf/data/dedup.py"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golf.data import dedup as module
from golf.data.dedup import DocumentIndex, find_duplicates

BOS = 1
TEXT = st.lists(st.integers(2, 5), max_size=4)
TEXTS = st.lists(TEXT, min_size=1, max_size=12)


def laid(texts, cut=7) -> DocumentIndex:
    stream = np.array([token for text in texts for token in (BOS, *text)], dtype=np.uint16)
    return DocumentIndex.from_shards([stream[start : start + cut] for start in range(0, len(stream), cut)], BOS)[0]


@given(TEXTS, st.integers(1, 9))
def test_documents_are_found_and_read_over_shard_ends(texts, cut):
    found = laid(texts, cut)
    assert [found.read_document(number).tolist() for number in range(len(found))] == [[BOS, *text] for text in texts]


@given(TEXTS, TEXTS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 20))
def test_the_twins_are_those_that_a_comparison_of_every_pair_finds(texts, held, cut, other, block):
    kept, module.BLOCK_TOKENS = module.BLOCK_TOKENS, block
    try:
        found = find_duplicates(laid(texts, cut), laid(held, other), workers=2)
    finally:
        module.BLOCK_TOKENS = kept
    assert found.tolist() == [number for number, text in enumerate(texts) if text in held]


def test_a_hash_is_its_document_s_own_wherever_it_stands():
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 300, size=length).tolist() for length in rng.integers(1, 40, size=300)]
    order = rng.permutation(300)
    hashes = laid(texts, 50).compute_hashes()
    assert np.array_equal(laid([texts[number] for number in order], 13).compute_hashes(3), hashes[order])
    assert len(np.unique(hashes)) == 300


def test_equal_hashes_of_different_documents_are_not_blamed(monkeypatch):
    monkeypatch.setattr(DocumentIndex, "compute_hashes", lambda self, *_: np.zeros(len(self), dtype=np.uint64))
    assert find_duplicates(laid([[2], [3], [4, 5]]), laid([[4, 5], [2, 2]])).tolist() == [2]


def test_a_search_tells_how_many_documents_it_has_looked_at(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_TOKENS", 6)
    told = []
    find_duplicates(laid([[2, 3], [4, 5], [2], [3]]), laid([[2]]), on_progress=told.append)
    assert told == [2, 4]


def test_the_largest_id_of_each_shard_is_told():
    stream = np.array([1, 9, 3, 1, 2, 300], dtype=np.uint16)
    assert DocumentIndex.from_shards([stream[:3], stream[3:]], BOS, 2)[1] == [9, 300]
