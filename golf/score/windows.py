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
    before them. stride = context: plain, non-overlapping windows. ``begin`` is 0 or a multiple of the stride.
    """
    windows = []
    if begin == 0:
        windows.append(Window(0, 0, min(context, end)))
        begin = context
    for first in range(begin, end, stride):
        windows.append(Window(max(0, first + stride - context), first, min(first + stride, end)))
    return windows
