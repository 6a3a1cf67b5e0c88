"""Which window scores which targets. Position p of a stream predicts token p + 1."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Inputs from ``start``; positions from ``first`` up to ``stop`` are scored, those before ``first`` are context."""

    start: int
    score_from: int
    score_to: int


def plan_windows(begin: int, end: int, *, context_length: int, stride: int) -> list[Window]:
    """Windows that score positions ``begin`` to ``end`` once each, in order (PR #1493, record-stack 1.7).

    The stream's first window scores all its positions; every later one scores ``stride`` and sees context - stride
    before them. stride = context: plain, non-overlapping windows. Windows lie where one pass over the whole stream
    puts them, wherever ``begin`` is, so that a position's score does not depend on how the stream is cut.
    """
    windows = []
    if begin < min(context_length, end):
        windows.append(Window(0, begin, min(context_length, end)))
    aligned_start = context_length + max(0, begin - context_length) // stride * stride
    for group_start in range(aligned_start, end, stride):
        windows.append(
            Window(group_start + stride - context_length, max(begin, group_start), min(group_start + stride, end))
        )
    return windows
