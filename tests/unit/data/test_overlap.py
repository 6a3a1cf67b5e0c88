"""golf/data/overlap.py"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import overlap
from golf.data.overlap import WINDOW_BYTES, WindowMatcher, find_covered_ranges, find_runs, mark_overlapping

BASE = bytes(range(32, 127)) * 3  # 95 different bytes over and over
# Runs of few letters, as long as a window and longer: some texts share windows, others almost do.
texts = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"ab" * 20, b"a" * 63, b"b" * 64, BASE[:64], BASE[1:70]]), max_size=6).map(
        b"".join
    ),
    max_size=4,
)


def slow_ranges(searched, others):
    """The definition: the set of all windows of the others, and a mask of bytes for each text."""
    windows = {text[i : i + WINDOW_BYTES] for text in others for i in range(len(text) - WINDOW_BYTES + 1)}
    ranges = []
    for text in searched:
        covered = {
            byte
            for i in range(len(text) - WINDOW_BYTES + 1)
            if text[i : i + WINDOW_BYTES] in windows
            for byte in range(i, i + WINDOW_BYTES)
        }
        starts = sorted(byte for byte in covered if byte - 1 not in covered)
        stops = sorted(byte + 1 for byte in covered if byte + 1 not in covered)
        ranges.append(list(zip(starts, stops, strict=True)))
    return ranges


@given(texts, texts)
def test_what_is_covered_is_the_union_of_all_shared_windows(searched, others):
    assert find_covered_ranges(searched, others) == slow_ranges(searched, others)


@given(st.lists(texts, max_size=3), texts, st.sampled_from([1, 64, 65, 100, 1000]))
def test_neither_blocks_nor_several_searches_change_the_result(searches, searched, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_BLOCK_BYTES", block_bytes)
        matcher = WindowMatcher(searched)
        for others in searches:
            matcher.search(iter(others))
    assert matcher.covered_ranges() == slow_ranges(searched, [text for others in searches for text in others])


@pytest.mark.parametrize(("n_shared", "covered"), [(63, []), (64, [(10, 74)]), (70, [(10, 80)])])
def test_a_match_has_at_least_64_bytes(n_shared, covered):
    text = b"0123456789" + BASE[:n_shared] + b"\x00"
    assert find_covered_ranges([text], [b"other" + BASE[:n_shared] + b"\x01"]) == [covered]


def test_documents_are_apart_on_both_sides():
    first, second = BASE[:40], BASE[40:90]
    assert find_covered_ranges([BASE[:90]], [first, second]) == [[]]
    assert find_covered_ranges([first, second], [BASE[:90], first + overlap.SEPARATOR + second]) == [[], []]


def test_texts_without_a_window_and_no_texts_at_all_are_covered_by_nothing():
    assert find_covered_ranges([], [BASE]) == []
    assert find_covered_ranges([b"", b"short", BASE[:63]], [BASE, b""]) == [[], [], []]
    assert find_covered_ranges([BASE], []) == [[]]


def test_windows_of_the_same_slot_and_hash_are_told_apart_by_their_bytes(monkeypatch):
    monkeypatch.setattr(overlap, "_hash_windows", lambda data: np.full(max(0, len(data) - 63), 7, dtype=np.uint64))
    assert find_covered_ranges([BASE[:64]], [BASE[64:128]]) == [[]]
    assert find_covered_ranges([BASE[:64]], [BASE[:64]]) == [[(0, 64)]]


@given(st.lists(st.booleans()))
def test_runs_are_the_true_bytes_and_apart(mask):
    runs = find_runs(np.array(mask, dtype=bool))
    assert [byte for start, stop in runs for byte in range(start, stop)] == [
        i for i, is_set in enumerate(mask) if is_set
    ]
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(runs))


@given(st.lists(st.booleans(), max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5))))
def test_bytes_overlap_ranges_that_hold_one_of_them(mask, pairs):
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    stops = np.array([start + length for start, length in pairs], dtype=np.int64)
    found = mark_overlapping(find_runs(np.array(mask, dtype=bool)), starts, stops)
    assert found.tolist() == [any(mask[start : start + length]) for start, length in pairs]
