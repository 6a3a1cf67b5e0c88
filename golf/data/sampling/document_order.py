"""Windows of a split whose documents are laid end to end in another order: shuffled, or by compressibility.

Documents are reordered whole, so a window holds the end of one and the start of its new neighbor. A split that only
summarizes its documents is reordered by shards instead, as the source of the sort did (docs/references.md#data-order).
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from golf.data.shard_file import ShardReader

__all__ = ["DataOrder", "DocumentOrder"]

DataOrder = Literal["shuffled", "documents", "compressible_first", "compressible_last"]
_SAMPLE_BYTES = 1 << 20  # of a unit that are compressed to measure it


class DocumentOrder:
    """The windows of each epoch under a ``data_order`` other than shuffled.

    documents: each epoch draws the order of the documents, and then that of the windows, from the seed.
    compressible_first, compressible_last: documents by the share of their token bytes that zlib's level 1 leaves,
    smallest or largest first, and windows in that order; every epoch repeats it with another phase.
    """

    def __init__(
        self,
        shards: Sequence[np.ndarray | ShardReader],
        document_lengths: Sequence[int],
        data_order: DataOrder,
        seed: int,
    ) -> None:
        """document_lengths: tokens of each document, in the order of the split; empty to reorder shards."""
        self._shards, self._data_order, self._seed = shards, data_order, seed
        self._shard_ends = np.cumsum([len(shard) for shard in shards])
        self._lengths = np.array(document_lengths if len(document_lengths) else [len(shard) for shard in shards])
        self._begins = np.cumsum(self._lengths) - self._lengths
        self.n_tokens = int(self._shard_ends[-1])
        if data_order != "documents":
            shares = [self._measure_compressed_share(unit) for unit in range(len(self._lengths))]
            self._fixed_order = np.argsort(
                shares if data_order == "compressible_first" else -np.array(shares), kind="stable"
            )

    def _measure_compressed_share(self, unit: int) -> float:
        begin = self._begins[unit]
        data = self._read_span(begin, begin + min(self._lengths[unit], _SAMPLE_BYTES // 2)).astype("<u2").tobytes()
        return len(zlib.compress(data, 1)) / len(data)

    def _read_span(self, begin: int, end: int) -> np.ndarray:
        """Return the tokens of a range of the split, which may cross shards."""
        pieces = []
        while begin < end:
            shard = int(np.searchsorted(self._shard_ends, begin, side="right"))
            shard_begin = int(self._shard_ends[shard]) - len(self._shards[shard])
            stop = min(end, int(self._shard_ends[shard]))
            pieces.append(self._shards[shard][begin - shard_begin : stop - shard_begin])
            begin = stop
        return np.concatenate(pieces)

    def draw_epoch(
        self, epoch: int, context_length: int, n_phases: int
    ) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
        """Return the first token of each window, int64 [n], in the order they are drawn, and what reads a window.

        Positions are those of the reordered stream. A window has context_length + 1 tokens; windows start
        context_length tokens apart from one of ``n_phases`` phases on.
        """
        rng = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        is_shuffled = self._data_order == "documents"
        order = rng.permutation(len(self._lengths)) if is_shuffled else self._fixed_order
        starts = np.arange(rng.integers(n_phases), self.n_tokens - context_length, context_length, dtype=np.int64)
        ends = np.cumsum(self._lengths[order])

        def read(start: int) -> np.ndarray:
            pieces, position, stop = [], start, start + context_length + 1
            while position < stop:
                place = int(np.searchsorted(ends, position, side="right"))
                unit_start = int(ends[place] - self._lengths[order[place]])
                unit_stop, offset = min(stop, int(ends[place])), int(self._begins[order[place]]) - unit_start
                pieces.append(self._read_span(position + offset, unit_stop + offset))
                position = unit_stop
            return np.concatenate(pieces)

        return rng.permutation(starts) if is_shuffled else starts, read
