"""Sliding windows: which window scores which targets. Position p of a stream predicts token p + 1."""

from dataclasses import dataclass

__all__ = ["Window", "list_windows"]


@dataclass(frozen=True, slots=True)
class Window:
    """Input tokens from ``start``; scores positions score_from <= p < score_to, with those before as context."""

    start: int
    score_from: int
    score_to: int


def list_windows(begin: int, end: int, *, context_length: int, stride: int) -> list[Window]:
    """Return the windows that score each position of begin <= p < end once, in order.

    Windows lie on one grid for the whole stream (PR #1493, docs/references.md#sliding-window): the first starts at 0
    and scores all its ``context_length`` positions; each later one starts ``stride`` tokens after the one before and
    scores its last ``stride`` positions. So a position's score does not depend on how the stream is cut into chunks.
    stride = context_length gives plain, non-overlapping windows.
    """
    windows = []
    if begin < min(context_length, end):
        windows.append(Window(0, begin, min(context_length, end)))
    first_group = context_length + max(0, begin - context_length) // stride * stride
    for group_start in range(first_group, end, stride):
        windows.append(
            Window(group_start + stride - context_length, max(begin, group_start), min(group_start + stride, end))
        )
    return windows
