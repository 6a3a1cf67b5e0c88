"""The n-gram memory within documents: each document begins with an empty one (``memory.scope: document``)."""

# n tokens of a chunk, V vocabulary size

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from golf.inference.documents import find_document_start, split_documents
from golf.inference.interface import ScoredChunk
from golf.inference.ngram_memory import NgramMemory

__all__ = ["DocumentMemory"]


class DocumentMemory:
    """An ``NgramMemory`` of the document alone that a token belongs to; ``NgramMemory`` says what the methods return.

    The stream's first token starts each document.
    """

    def __init__(self, make: Callable[[], NgramMemory]) -> None:
        self._make, self._current = make, make()
        self._bos, self._start, self._n_learned = 0, 0, 1  # _start: of the present document in the stream

    def learn(self, chunk: ScoredChunk) -> None:
        if chunk.index == 0:
            self._bos = int(chunk.tokens[0])
        starts = (np.flatnonzero(chunk.tokens[1:] == self._bos) + 1).tolist()
        for begin, end in zip([0, *starts], [*starts, len(chunk.tokens) - 1], strict=True):
            if begin:
                self._current, self._start = self._make(), self._n_learned + begin - 1
            self._current.learn(dataclasses.replace(chunk, tokens=chunk.tokens[begin : end + 1]))
        self._n_learned += len(chunk.tokens) - 1

    def mix_nll(self, prefix: np.ndarray, chunk: np.ndarray, nll: np.ndarray) -> np.ndarray:
        parts = self._split(prefix, chunk)
        return np.concatenate([memory.mix_nll(before, chunk[at], nll[at]) for memory, before, at in parts])

    def mix_pair_nll(self, prefix: np.ndarray, chunk: np.ndarray, hints: np.ndarray, nll: np.ndarray) -> np.ndarray:
        parts = self._split(prefix, chunk)
        return np.concatenate(
            [memory.mix_pair_nll(before, chunk[at], hints[at], nll[:, at]) for memory, before, at in parts], 1
        )

    def mix_probs_(self, prefix: np.ndarray, probs_V: np.ndarray) -> np.ndarray:
        ((memory, before, _),) = self._split(prefix, prefix[-1:])  # any token stands for the unknown one
        return memory.mix_probs_(before, probs_V)

    def mix_log_probs(self, prefix: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        ((memory, before, _),) = self._split(prefix, prefix[-1:])  # any token stands for the unknown one
        return memory.mix_log_probs(before, log_probs)

    def _split(self, prefix: np.ndarray, chunk: np.ndarray) -> Iterator[tuple[NgramMemory, np.ndarray, slice]]:
        """For each document in ``chunk``: (its memory, its tokens before these, their places in the chunk)."""
        is_current = find_document_start(prefix) == self._start
        for before, at in split_documents(prefix, chunk):
            yield self._current if is_current and not at.start else self._make(), before, at
