"""Scoring with a context that ends at the document's start (``evaluate.order: documents``)."""

import numpy as np

from golf.inference.documents import find_document_start, split_documents
from golf.inference.scorer import Mix, Scorer, shift_mix

__all__ = ["DocumentScorer"]


class DocumentScorer:
    """A ``Scorer`` that takes each document for a stream of its own, windows included.

    So a document's scores are the same, bit for bit, whatever stands before it.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(
        self,
        prefix: np.ndarray,
        chunk: np.ndarray,
        *,
        stride: int,
        hints: np.ndarray | None = None,
        mix: Mix | None = None,
    ) -> np.ndarray:
        """``Scorer.score``, document by document."""
        parts = [
            self._scorer.score(
                before,
                chunk[at],
                stride=stride,
                hints=None if hints is None else hints[at],
                mix=shift_mix(mix, at.start),
            )
            for before, at in split_documents(prefix, chunk)
        ]
        return np.concatenate(parts, -1)

    def predict(self, prefix: np.ndarray, *, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """``Scorer.predict`` after the tokens of the document."""
        return self._scorer.predict(prefix[find_document_start(prefix) :], stride=stride)
