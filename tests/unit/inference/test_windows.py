"""golf.inference.windows: every position once, on one grid, however the stream is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.inference.windows import Window, list_windows


@given(
    context=st.sampled_from([8, 16, 32]),
    parts=st.sampled_from([1, 2, 4, 8]),
    end=st.integers(1, 300),
)
def test_every_position_is_scored_exactly_once_and_in_order(context, parts, end):
    stride = context // parts
    windows = list_windows(0, end, context_length=context, stride=stride)

    assert [p for w in windows for p in range(w.score_from, w.score_to)] == list(range(end))
    assert all(w.start <= w.score_from < w.score_to <= w.start + context for w in windows)
    assert all(w.score_from - w.start >= context - stride for w in windows[1:])


@given(
    context=st.sampled_from([8, 16, 32]),
    parts=st.sampled_from([1, 2, 4, 8]),
    end=st.integers(1, 300),
    cuts=st.sets(st.integers(1, 299)),
)
def test_however_a_stream_is_cut_each_position_keeps_its_window_of_one_pass(context, parts, end, cuts):
    stride = context // parts
    bounds = [0, *sorted(cut for cut in cuts if cut < end), end]
    pieces = [
        window
        for begin, stop in itertools.pairwise(bounds)
        for window in list_windows(begin, stop, context_length=context, stride=stride)
    ]
    whole = list_windows(0, end, context_length=context, stride=stride)

    assert [p for w in pieces for p in range(w.score_from, w.score_to)] == list(range(end))
    assert starts(pieces) == starts(whole)


@given(parts=st.sampled_from([1, 2, 4]), groups=st.integers(1, 30), end=st.integers(17, 400))
def test_cuts_on_the_grid_add_no_window(parts, groups, end):
    context, stride = 16, 16 // parts
    bounds = [0, *range(context, end, stride * groups), end]
    pieces = [list_windows(b, e, context_length=context, stride=stride) for b, e in itertools.pairwise(bounds)]

    assert [w for piece in pieces for w in piece] == list_windows(0, end, context_length=context, stride=stride)


def starts(windows: list[Window]) -> dict[int, int]:
    """position -> where its window starts, which is all that its score depends on."""
    return {position: w.start for w in windows for position in range(w.score_from, w.score_to)}


def test_a_chunk_that_begins_between_groups_is_scored_by_the_groups_it_falls_into():
    assert list_windows(3, 14, context_length=8, stride=4) == [Window(0, 3, 8), Window(4, 8, 12), Window(8, 12, 14)]
    assert list_windows(14, 15, context_length=8, stride=4) == [Window(8, 14, 15)]


def test_plain_windows_do_not_overlap():
    assert list_windows(0, 20, context_length=8, stride=8) == [Window(0, 0, 8), Window(8, 8, 16), Window(16, 16, 20)]


@pytest.mark.parametrize(("tokens", "windows"), [(40_540_160, 633_409)])
def test_the_record_scores_its_val_in_633409_windows(tokens, windows):
    assert 1 + len(range(2048, tokens, 64)) == windows
    assert len(list_windows(0, 2048 * 100, context_length=2048, stride=64)) == 1 + (2048 * 99) // 64
