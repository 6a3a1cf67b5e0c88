"""Find which bytes of some texts also occur in other texts: exact matches of WINDOW_BYTES bytes or more.

A byte is covered when it lies in a window of WINDOW_BYTES bytes of its text that occurs in the other texts. Windows do
not run from one text into the next. Texts are normalized (golf.data.normalize), so a run of white space is one space
and no text holds a newline, which separates them here.

Each window of the searched texts has a 64-bit polynomial hash; the windows of the other texts are hashed in blocks and
looked up, and equal hashes are confirmed byte by byte. Time is linear in the other texts, memory in the searched ones.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = [
    "SEPARATOR",
    "WINDOW_BYTES",
    "Range",
    "WindowMatcher",
    "find_covered_ranges",
    "find_runs",
    "mark_overlapping",
]

WINDOW_BYTES = 64  # a power of two: hashes are built by doubling
SEPARATOR = b"\n"  # between texts
Range = tuple[int, int]  # first byte, past the last byte
_BLOCK_BYTES = 1 << 18  # of the other texts, hashed at once: their hashes fit into a core's cache
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that no byte's weight vanishes modulo 2^64


class WindowMatcher:
    """The windows of some texts, and which of them have been found in other texts."""

    def __init__(self, texts: Sequence[bytes]):
        """texts: normalized UTF-8; their windows take about 30 bytes of memory for each byte of text."""
        self._text_starts = np.cumsum([0, *(len(text) + len(SEPARATOR) for text in texts)])[:-1]
        self._bytes = _to_array(SEPARATOR.join(texts))
        # Equal hashes are neighbors, of which the first stands for all: among n different windows two share a hash with
        # a probability of n²/2^65, which is 0.001 for 200 MB.
        self._hashes, self._positions = _sort_windows(self._bytes)
        self._found = np.zeros(len(self._hashes), dtype=bool)  # set for the first of equal hashes
        # 32 to 64 bits for each hash turn away nearly all other windows without a binary search.
        self._slot_bits = max(8, len(self._hashes).bit_length() + 5)
        self._table = np.zeros(1 << (self._slot_bits - 3), dtype=np.uint8)
        for block in np.array_split(self._hashes, len(self._hashes) // _BLOCK_BYTES + 1):
            slots = self._hash_slots(block)
            np.bitwise_or.at(self._table, slots >> np.uint64(3), _make_slot_masks(slots))

    def _hash_slots(self, hashes: np.ndarray) -> np.ndarray:
        """uint64: the bit of the table that belongs to each hash."""
        return (hashes * np.uint64(_MULTIPLIER)) >> np.uint64(64 - self._slot_bits)

    def search(self, texts: Iterable[bytes]) -> None:
        """Record which windows occur in ``texts``, normalized UTF-8, read once."""
        if not len(self._hashes):
            return
        for block in _iter_blocks(texts):
            hashes = _hash_windows(block)
            slots = self._hash_slots(hashes)
            candidates = np.flatnonzero(self._table[slots >> np.uint64(3)] & _make_slot_masks(slots))
            entries = np.minimum(np.searchsorted(self._hashes, hashes[candidates]), len(self._hashes) - 1)
            is_new = (self._hashes[entries] == hashes[candidates]) & ~self._found[entries]
            entries, first = np.unique(entries[is_new], return_index=True)
            self._confirm(entries, block, candidates[is_new][first])

    def _confirm(self, entries: np.ndarray, block: np.ndarray, starts: np.ndarray) -> None:
        """Mark as found those of ``entries`` [n] whose window is within a text and occurs in ``block`` at its start."""
        if not len(entries):
            return
        windows = sliding_window_view(block, WINDOW_BYTES)[starts]
        searched = sliding_window_view(self._bytes, WINDOW_BYTES)[self._positions[entries]]
        is_equal = ((windows == searched) & (windows != SEPARATOR[0])).all(axis=1)
        self._found[entries[is_equal]] = True

    def covered_ranges(self) -> list[list[Range]]:
        """Return for each text the ranges of its covered bytes: ascending, apart from each other."""
        first = np.flatnonzero(self._found)
        n_equal = np.searchsorted(self._hashes, self._hashes[first], side="right") - first
        entries = np.repeat(first - np.cumsum(n_equal) + n_equal, n_equal) + np.arange(n_equal.sum())
        starts = np.sort(self._positions[entries]).astype(np.int64)
        # Windows of one text that overlap or touch cover one range; those of two texts are a separator apart.
        is_apart = np.diff(starts) > WINDOW_BYTES
        range_starts = starts[np.append(True, is_apart)[: len(starts)]]
        range_stops = starts[np.append(is_apart, True)[: len(starts)]] + WINDOW_BYTES
        text_numbers = np.searchsorted(self._text_starts, range_starts, side="right") - 1
        ranges: list[list[Range]] = [[] for _ in self._text_starts]
        for number, start, stop in zip(text_numbers.tolist(), range_starts.tolist(), range_stops.tolist(), strict=True):
            text_start = int(self._text_starts[number])
            ranges[number].append((start - text_start, stop - text_start))
        return ranges


def find_covered_ranges(texts: Sequence[bytes], others: Iterable[bytes]) -> list[list[Range]]:
    """Return for each text the ranges of its bytes that are covered by matches with ``others``; normalized UTF-8."""
    matcher = WindowMatcher(texts)
    matcher.search(others)
    return matcher.covered_ranges()


def find_runs(mask: np.ndarray) -> list[Range]:
    """Return the ranges of a bool array [n] that are True: ascending, apart from each other."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def mark_overlapping(ranges: Sequence[Range], starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return bool [n]: whether the bytes from starts[i] to before stops[i] hold a byte of ``ranges``.

    ranges: ascending, apart from each other; with none, all entries are False. starts, stops: int64 [n], in any order.
    """
    edges = np.array(ranges, dtype=np.int64).reshape(-1, 2)
    n_begun = np.searchsorted(edges[:, 0], stops, side="left")
    n_ended = np.searchsorted(edges[:, 1], starts, side="right")
    return (n_begun > n_ended) & (starts < stops)


def _sort_windows(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all windows, uint64 [n], ascending, and the position of each in ``data``."""
    hashes = np.empty(max(0, len(data) - WINDOW_BYTES + 1), dtype=np.uint64)
    for start, block in zip(range(0, len(hashes), _step()), _cut_into_blocks(data), strict=True):
        hashes[start : start + _step()] = _hash_windows(block)
    order = np.argsort(hashes)
    return hashes[order], order.astype(np.min_scalar_type(len(order)))


def _iter_blocks(texts: Iterable[bytes]) -> Iterator[np.ndarray]:
    """The texts, joined, as arrays of at most about two _BLOCK_BYTES. A block repeats the end of the text it cuts."""
    parts: list[bytes] = []
    n_bytes = 0
    for text in texts:
        parts.append(text)
        n_bytes += len(text) + len(SEPARATOR)
        if n_bytes >= _BLOCK_BYTES:
            yield from _cut_into_blocks(_to_array(SEPARATOR.join(parts)))
            parts, n_bytes = [], 0
    yield from _cut_into_blocks(_to_array(SEPARATOR.join(parts)))


def _cut_into_blocks(data: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(data) - WINDOW_BYTES + 1, _step()):
        yield data[start : start + _step() + WINDOW_BYTES - 1]


def _step() -> int:
    """Windows of a block."""
    return max(1, _BLOCK_BYTES - WINDOW_BYTES + 1)


def _to_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)


def _make_slot_masks(slots: np.ndarray) -> np.ndarray:
    """uint8: the bit of each slot within its byte of the table."""
    return np.uint8(1) << (slots & np.uint64(7)).astype(np.uint8)


def _hash_windows(data: np.ndarray) -> np.ndarray:
    """uint64 [max(0, n - WINDOW_BYTES + 1)]: Σ (byte_i + 1) × multiplier^(WINDOW_BYTES - 1 - i) modulo 2^64 of each.

    The hash of 2w bytes is that of the first w times multiplier^w, plus that of the next w.
    """
    if len(data) < WINDOW_BYTES:
        return np.zeros(0, dtype=np.uint64)
    hashes, width, weight = data.astype(np.uint64) + np.uint64(1), 1, _MULTIPLIER
    while width < WINDOW_BYTES:
        hashes = hashes[:-width] * np.uint64(weight) + hashes[width:]
        width, weight = 2 * width, weight * weight % (1 << 64)
    return hashes
