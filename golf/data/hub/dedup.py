"""Find equal documents in token streams too long to list.

A document's hash is Σ (id + 1) × multiplier(position) modulo 2^64 with random odd multipliers. It depends only on the
document's own ids, so equal documents have equal hashes wherever they occur. Documents with equal hashes are compared
id by id, so there are neither false negatives nor false positives. Equal texts have equal ids, because tokenizing is
deterministic. Near duplicates are not searched for.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from golf.data.shard_file import ShardReader

__all__ = ["BLOCK_TOKENS", "DocumentIndex", "find_duplicates"]

BLOCK_TOKENS = 1 << 21  # tokens hashed at once


def _no_progress(n_done: int) -> None:
    """Ignore the number of documents done."""


@dataclass(frozen=True)
class DocumentIndex:
    """The documents of a token stream.

    shards: uint16, concatenated. starts: int64 [documents + 1], where each document starts, then the end of the last.
    """

    shards: Sequence[np.ndarray | ShardReader]
    starts: np.ndarray

    @classmethod
    def from_shards(
        cls, shards: Sequence[np.ndarray | ShardReader], bos: int, workers: int = 1
    ) -> tuple["DocumentIndex", list[int]]:
        """Index the documents, each of which starts at a BOS; also returns the largest id of each shard."""
        with ThreadPoolExecutor(workers) as pool:
            scans = list(pool.map(lambda shard: _find_bos(shard[:], bos), shards))
        offsets = np.cumsum([0, *map(len, shards)])
        starts = [bos_positions + offset for (bos_positions, _), offset in zip(scans, offsets, strict=False)]
        return cls(shards, np.concatenate([*starts, offsets[-1:]])), [max_id for _, max_id in scans]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read_document(self, number: int) -> np.ndarray:
        """Return uint16 ids of one document, BOS first."""
        return self.read_documents(number, number + 1)

    def read_documents(self, first: int, stop: int) -> np.ndarray:
        """Return uint16 ids of the documents from ``first`` to before ``stop``, from as many shards as needed."""
        begin, end = int(self.starts[first]), int(self.starts[stop])
        parts, shard_end = [], 0
        for shard in self.shards:
            shard_begin, shard_end = shard_end, shard_end + len(shard)
            if shard_begin < end and begin < shard_end:
                parts.append(shard[max(0, begin - shard_begin) : min(end, shard_end) - shard_begin])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)

    def iter_blocks(self) -> Iterator[tuple[int, int]]:
        """Yield all documents as ranges (first, past the last) of about BLOCK_TOKENS tokens."""
        start = 0
        while start < len(self):
            stop = int(np.searchsorted(self.starts, self.starts[start] + BLOCK_TOKENS, side="right")) - 1
            stop = min(max(stop, start + 1), len(self))
            yield start, stop
            start = stop

    def compute_hashes(self, workers: int = 1, on_progress: Callable[[int], None] = _no_progress) -> np.ndarray:
        """Return uint64 [documents]: their hashes.

        on_progress: called after each block with the number of documents done.
        """
        max_length = int(np.diff(self.starts).max(initial=0))
        multipliers = np.random.Generator(np.random.PCG64(0)).integers(1 << 64, size=max_length, dtype=np.uint64) | 1

        def hash_block(block: tuple[int, int]) -> np.ndarray:
            start, stop = block
            starts = self.starts[start : stop + 1]
            ids = self.read_documents(start, stop).astype(np.uint64) + np.uint64(1)
            positions = np.arange(len(ids)) - np.repeat(starts[:-1] - starts[0], np.diff(starts))
            return np.add.reduceat(ids * multipliers[positions], starts[:-1] - starts[0])

        with ThreadPoolExecutor(workers) as pool:
            block_hashes = [np.zeros(0, dtype=np.uint64)]
            for (_, stop), hashes in zip(self.iter_blocks(), pool.map(hash_block, self.iter_blocks()), strict=True):
                block_hashes.append(hashes)
                on_progress(stop)
        return np.concatenate(block_hashes)


def _find_bos(ids: np.ndarray, bos: int) -> tuple[np.ndarray, int]:
    """Positions of BOS, and the largest id."""
    return np.flatnonzero(ids == bos), int(ids.max())


def find_duplicates(
    documents: DocumentIndex,
    reference: DocumentIndex,
    workers: int = 1,
    on_progress: Callable[[int], None] = _no_progress,
) -> np.ndarray:
    """Return int64, ascending: numbers of the ``documents`` that also occur in ``reference``.

    on_progress: called with the number of ``documents`` hashed so far.
    """
    reference_hashes = reference.compute_hashes(workers)
    order = np.argsort(reference_hashes, kind="stable")
    hashes = documents.compute_hashes(workers, on_progress)
    low = np.searchsorted(reference_hashes[order], hashes, side="left")
    high = np.searchsorted(reference_hashes[order], hashes, side="right")
    duplicate_numbers = [
        number
        for number in np.flatnonzero(high > low).tolist()
        if any(
            np.array_equal(documents.read_document(number), reference.read_document(candidate))
            for candidate in order[low[number] : high[number]].tolist()
        )
    ]
    return np.array(duplicate_numbers, dtype=np.int64)
