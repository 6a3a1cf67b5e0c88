"""golf/data/hub/dedup.py"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golf.data.hub import dedup
from golf.data.hub.dedup import DocumentIndex, find_duplicates

BOS = 1
TEXT = st.lists(st.integers(2, 5), max_size=4)
TEXTS = st.lists(TEXT, min_size=1, max_size=12)


def make_index(texts, cut=7) -> DocumentIndex:
    stream = np.array([token for text in texts for token in (BOS, *text)], dtype=np.uint16)
    return DocumentIndex.from_shards([stream[start : start + cut] for start in range(0, len(stream), cut)], BOS)[0]


@given(TEXTS, st.integers(1, 9))
def test_documents_are_found_and_read_over_shard_ends(texts, cut):
    documents = make_index(texts, cut)
    assert [documents.read_document(number).tolist() for number in range(len(documents))] == [
        [BOS, *text] for text in texts
    ]


@given(TEXTS, TEXTS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 20))
def test_the_duplicates_are_those_that_a_comparison_of_every_pair_finds(texts, reference, cut, other_cut, block):
    previous, dedup.BLOCK_TOKENS = dedup.BLOCK_TOKENS, block
    try:
        numbers = find_duplicates(make_index(texts, cut), make_index(reference, other_cut), workers=2)
    finally:
        dedup.BLOCK_TOKENS = previous
    assert numbers.tolist() == [number for number, text in enumerate(texts) if text in reference]


def test_a_hash_is_its_document_s_own_wherever_it_stands():
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 300, size=length).tolist() for length in rng.integers(1, 40, size=300)]
    order = rng.permutation(300)
    hashes = make_index(texts, 50).compute_hashes()
    assert np.array_equal(make_index([texts[number] for number in order], 13).compute_hashes(3), hashes[order])
    assert len(np.unique(hashes)) == 300


def test_equal_hashes_of_different_documents_are_no_duplicates(monkeypatch):
    monkeypatch.setattr(DocumentIndex, "compute_hashes", lambda self, *_: np.zeros(len(self), dtype=np.uint64))
    assert find_duplicates(make_index([[2], [3], [4, 5]]), make_index([[4, 5], [2, 2]])).tolist() == [2]


def test_a_search_reports_its_progress(monkeypatch):
    monkeypatch.setattr(dedup, "BLOCK_TOKENS", 6)
    progress = []
    find_duplicates(make_index([[2, 3], [4, 5], [2], [3]]), make_index([[2]]), on_progress=progress.append)
    assert progress == [2, 4]


def test_the_largest_id_of_each_shard_is_returned():
    stream = np.array([1, 9, 3, 1, 2, 300], dtype=np.uint16)
    assert DocumentIndex.from_shards([stream[:3], stream[3:]], BOS, 2)[1] == [9, 300]
