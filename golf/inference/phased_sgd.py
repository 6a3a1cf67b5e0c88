"""Score-first SGD over the documents scored so far, in a few phases (PRs #1610, #1700, #1727, #1925).

Phase i of n begins when i / n of ``prefix_documents`` documents are scored, and takes one pass of score-first SGD over
the stream up to there: the rate falls as a cosine to 0 over chunks of ``chunk_tokens``, the momentum begins anew.
docs/references.md#phased-ttt has the recipe.
"""

import numpy as np

from golf.distributed.context import DistContext
from golf.inference.interface import ScoredChunk, TTTSettings
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.model.gpt import GPT

__all__ = ["PhasedSGD"]


class PhasedSGD:
    """Waits for the documents of each phase. The stream's first token starts each document."""

    def __init__(self, model: GPT, cfg: TTTSettings, ctx: DistContext) -> None:
        assert cfg.phased is not None
        self._model, self._cfg, self._phased, self._ctx = model, cfg, cfg.phased, ctx
        self._parts: list[np.ndarray] = []
        self._starts: list[int] = []  # of the documents scored so far, and of the one that goes on
        self._n_tokens = self.n_phases = 0

    def train_on_chunk(self, chunk: ScoredChunk) -> bool:
        """Keep the chunk's tokens; return whether a phase began with it, and trained.

        Raises TypeError for anything but a ScoredChunk.
        """
        if not isinstance(chunk, ScoredChunk):
            raise TypeError(f"training takes a ScoredChunk, got {type(chunk).__name__}")
        if self.n_phases == self._phased.phases:
            return False
        new = chunk.tokens if chunk.index == 0 else chunk.tokens[1:]
        self._parts.append(new)
        bos = self._parts[0][0]
        self._starts += (np.flatnonzero(new == bos) + self._n_tokens).tolist()
        self._n_tokens += len(new)
        n_trained = self.n_phases
        while not chunk.is_last and self.n_phases < self._phased.phases:
            n_documents = self._phased.prefix_documents * (self.n_phases + 1) // self._phased.phases
            if len(self._starts) <= n_documents:
                break
            self._train(np.concatenate(self._parts)[: self._starts[n_documents]])
            self.n_phases += 1
        return self.n_phases > n_trained

    def _train(self, tokens: np.ndarray) -> None:
        size = self._phased.chunk_tokens
        begins = range(0, len(tokens) - 1, size)
        learner = ScoreFirstSGD(self._model, self._cfg, self._ctx, n_chunks=len(begins))
        for index, begin in enumerate(begins):
            learner.train_on_tokens(tokens[begin : begin + size + 1], index)
