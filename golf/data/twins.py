"""Documents in token streams too long to list: where they start, and which are the same in two streams.

A document's hash is Σ (id + 1) × multiplier(position) modulo 2^64, with random odd multipliers: equal documents have
equal hashes, whatever stands around them, and a pair of equal hashes counts only when the ids are equal too. So nothing
is missed and nothing is blamed. A text has one encoding, so equal texts are equal ids; near copies are not looked for.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from golf.data.shard import Shard

BLOCK = 1 << 21  # tokens hashed at once


def silent(done: int) -> None:
    """Tell nobody how many documents are done."""


@dataclass(frozen=True)
class Documents:
    """shards: of uint16, end to end; starts: int64 [documents + 1], where each begins, and where the last one ends."""

    shards: Sequence[np.ndarray | Shard]
    starts: np.ndarray

    @classmethod
    def of(cls, shards: Sequence[np.ndarray | Shard], bos: int, workers: int = 1) -> tuple["Documents", list[int]]:
        """The documents that begin with BOS, which is no text and stands nowhere else; and each shard's largest id."""
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(lambda shard: scanned(shard[:], bos), shards))
        ends = np.cumsum([0, *map(len, shards)])
        starts = [places + end for (places, _), end in zip(found, ends, strict=False)]
        return cls(shards, np.concatenate([*starts, ends[-1:]])), [largest for _, largest in found]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def ids(self, number: int) -> np.ndarray:
        """uint16 ids of one document, BOS in front."""
        return self.read(*self.starts[number : number + 2].tolist())

    def read(self, start: int, stop: int) -> np.ndarray:
        """uint16 [stop - start], over as many shards as it takes."""
        parts, end = [], 0
        for shard in self.shards:
            begin, end = end, end + len(shard)
            if begin < stop and start < end:
                parts.append(shard[max(0, start - begin) : min(stop, end) - begin])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Numbers (first, past the last) of documents that lie side by side, about BLOCK tokens of them."""
        first = 0
        while first < len(self):
            past = int(np.searchsorted(self.starts, self.starts[first] + BLOCK, side="right")) - 1
            past = min(max(past, first + 1), len(self))
            yield first, past
            first = past

    def hashes(self, workers: int = 1, told: Callable[[int], None] = silent) -> np.ndarray:
        """uint64 [documents]. told: called with the number of documents that are done, block by block."""
        longest = int(np.diff(self.starts).max(initial=0))
        multipliers = np.random.Generator(np.random.PCG64(0)).integers(1 << 64, size=longest, dtype=np.uint64) | 1

        def of(block: tuple[int, int]) -> np.ndarray:
            first, past = block
            starts = self.starts[first : past + 1]
            ids = self.read(int(starts[0]), int(starts[-1])).astype(np.uint64) + np.uint64(1)
            position = np.arange(len(ids)) - np.repeat(starts[:-1] - starts[0], np.diff(starts))
            return np.add.reduceat(ids * multipliers[position], starts[:-1] - starts[0])

        with ThreadPoolExecutor(workers) as pool:
            found = [np.zeros(0, dtype=np.uint64)]
            for (_, past), part in zip(self.blocks(), pool.map(of, self.blocks()), strict=True):
                found.append(part)
                told(past)
        return np.concatenate(found)


def scanned(ids: np.ndarray, bos: int) -> tuple[np.ndarray, int]:
    """Where BOS stands, and the largest id."""
    return np.flatnonzero(ids == bos), int(ids.max())


def twins(documents: Documents, held: Documents, workers: int = 1, told: Callable[[int], None] = silent) -> np.ndarray:
    """int64, ascending: the numbers of those documents that ``held`` has as well. told: as Documents.hashes takes it,
    of the first.
    """
    theirs = held.hashes(workers)
    order = np.argsort(theirs, kind="stable")
    ours = documents.hashes(workers, told)
    low = np.searchsorted(theirs[order], ours, side="left")
    high = np.searchsorted(theirs[order], ours, side="right")
    found = [
        number
        for number in np.flatnonzero(high > low)
        if any(np.array_equal(documents.ids(number), held.ids(other)) for other in order[low[number] : high[number]])
    ]
    return np.array(found, dtype=np.int64)
