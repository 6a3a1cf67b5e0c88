import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.score.windows import Window, plan


@given(
    context=st.sampled_from([8, 16, 32]),
    parts=st.sampled_from([1, 2, 4, 8]),
    end=st.integers(1, 300),
)
def test_every_position_is_scored_exactly_once_and_in_order(context, parts, end):
    stride = context // parts
    windows = plan(0, end, context=context, stride=stride)

    assert [p for w in windows for p in range(w.first, w.stop)] == list(range(end))
    assert all(w.start <= w.first < w.stop <= w.start + context for w in windows)
    assert all(w.first - w.start >= context - stride for w in windows[1:])


@given(parts=st.sampled_from([1, 2, 4]), chunks=st.integers(1, 6), end=st.integers(1, 400))
def test_windows_of_chunks_are_the_windows_of_the_whole_stream(parts, chunks, end):
    context, stride = 16, 16 // parts
    size = context * chunks
    pieces = [plan(b, min(b + size, end), context=context, stride=stride) for b in range(0, end, size)]

    assert [w for piece in pieces for w in piece] == plan(0, end, context=context, stride=stride)


def test_plain_windows_do_not_overlap():
    assert plan(0, 20, context=8, stride=8) == [Window(0, 0, 8), Window(8, 8, 16), Window(16, 16, 20)]


@pytest.mark.parametrize(("tokens", "windows"), [(40_540_160, 633_409)])
def test_the_record_scores_its_val_in_633409_windows(tokens, windows):
    assert 1 + len(range(2048, tokens, 64)) == windows
    assert len(plan(0, 2048 * 100, context=2048, stride=64)) == 1 + (2048 * 99) // 64
