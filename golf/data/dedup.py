"""Documents in token streams too long to list: where they start, and which are the same in two streams.

A document's hash is Σ (id + 1) × multiplier(position) modulo 2^64, with random odd multipliers: equal documents have
equal hashes, whatever stands around them, and a pair of equal hashes counts only when the ids are equal too. So nothing
is missed and nothing is blamed. A text has one encoding, so equal texts are equal ids; near copies are not looked for.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from golf.data.shard_file import ShardReader

BLOCK_TOKENS = 1 << 21  # tokens hashed at once


def _no_progress(n_done: int) -> None:
    """Tell nobody how many documents are done."""


@dataclass(frozen=True)
class DocumentIndex:
    """shards: of uint16, end to end; starts: int64 [documents + 1], where each begins, and where the last one ends."""

    shards: Sequence[np.ndarray | ShardReader]
    starts: np.ndarray

    @classmethod
    def from_shards(
        cls, shards: Sequence[np.ndarray | ShardReader], bos: int, workers: int = 1
    ) -> tuple["DocumentIndex", list[int]]:
        """The documents that begin with BOS, which is no text and stands nowhere else; and each shard's largest id."""
        with ThreadPoolExecutor(workers) as pool:
            scans = list(pool.map(lambda shard: _find_bos(shard[:], bos), shards))
        offsets = np.cumsum([0, *map(len, shards)])
        starts = [bos_positions + offset for (bos_positions, _), offset in zip(scans, offsets, strict=False)]
        return cls(shards, np.concatenate([*starts, offsets[-1:]])), [max_id for _, max_id in scans]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read_document(self, number: int) -> np.ndarray:
        """uint16 ids of one document, BOS in front."""
        return self._read_range(*self.starts[number : number + 2].tolist())

    def _read_range(self, start: int, stop: int) -> np.ndarray:
        """uint16 [stop - start], over as many shards as it takes."""
        parts, end = [], 0
        for shard in self.shards:
            begin, end = end, end + len(shard)
            if begin < stop and start < end:
                parts.append(shard[max(0, start - begin) : min(stop, end) - begin])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)

    def _iter_blocks(self) -> Iterator[tuple[int, int]]:
        """Numbers (first, past the last) of documents that lie side by side, about BLOCK tokens of them."""
        start = 0
        while start < len(self):
            stop = int(np.searchsorted(self.starts, self.starts[start] + BLOCK_TOKENS, side="right")) - 1
            stop = min(max(stop, start + 1), len(self))
            yield start, stop
            start = stop

    def compute_hashes(self, workers: int = 1, on_progress: Callable[[int], None] = _no_progress) -> np.ndarray:
        """uint64 [documents]. told: called with the number of documents that are done, block by block."""
        max_length = int(np.diff(self.starts).max(initial=0))
        multipliers = np.random.Generator(np.random.PCG64(0)).integers(1 << 64, size=max_length, dtype=np.uint64) | 1

        def hash_block(block: tuple[int, int]) -> np.ndarray:
            start, stop = block
            starts = self.starts[start : stop + 1]
            ids = self._read_range(int(starts[0]), int(starts[-1])).astype(np.uint64) + np.uint64(1)
            positions = np.arange(len(ids)) - np.repeat(starts[:-1] - starts[0], np.diff(starts))
            return np.add.reduceat(ids * multipliers[positions], starts[:-1] - starts[0])

        with ThreadPoolExecutor(workers) as pool:
            block_hashes = [np.zeros(0, dtype=np.uint64)]
            for (_, stop), hashes in zip(self._iter_blocks(), pool.map(hash_block, self._iter_blocks()), strict=True):
                block_hashes.append(hashes)
                on_progress(stop)
        return np.concatenate(block_hashes)


def _find_bos(ids: np.ndarray, bos: int) -> tuple[np.ndarray, int]:
    """Where BOS stands, and the largest id."""
    return np.flatnonzero(ids == bos), int(ids.max())


def find_duplicates(
    documents: DocumentIndex,
    reference: DocumentIndex,
    workers: int = 1,
    on_progress: Callable[[int], None] = _no_progress,
) -> np.ndarray:
    """int64, ascending: the numbers of those documents that ``held`` has as well. told: as Documents.hashes takes it,
    of the first.
    """
    reference_hashes = reference.compute_hashes(workers)
    order = np.argsort(reference_hashes, kind="stable")
    hashes = documents.compute_hashes(workers, on_progress)
    low = np.searchsorted(reference_hashes[order], hashes, side="left")
    high = np.searchsorted(reference_hashes[order], hashes, side="right")
    duplicate_numbers = [
        number
        for number in np.flatnonzero(high > low)
        if any(
            np.array_equal(documents.read_document(number), reference.read_document(candidate))
            for candidate in order[low[number] : high[number]]
        )
    ]
    return np.array(duplicate_numbers, dtype=np.int64)
