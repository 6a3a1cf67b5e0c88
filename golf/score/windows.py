"""Which window scores which targets. Position p of a stream predicts token p + 1."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Inputs from ``start``; positions from ``first`` up to ``stop`` are scored, those before ``first`` are context."""

    start: int
    first: int
    stop: int


def plan(begin: int, end: int, *, context: int, stride: int) -> list[Window]:
    """Windows that score positions ``begin`` to ``end`` once each, in order (PR #1493, record-stack 1.7).

    The stream's first window scores all its positions; every later one scores ``stride`` and sees context - stride
    before them. stride = context: plain, non-overlapping windows. Windows lie where one pass over the whole stream
    puts them, wherever ``begin`` is, so that a position's score does not depend on how the stream is cut.
    """
    windows = []
    if begin < min(context, end):
        windows.append(Window(0, begin, min(context, end)))
    grid = context + max(0, begin - context) // stride * stride
    for group in range(grid, end, stride):
        windows.append(Window(group + stride - context, max(begin, group), min(group + stride, end)))
    return windows
