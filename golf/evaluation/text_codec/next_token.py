"""Give a coder the distribution of the next token: from keys and values that are kept, or from ``predict``.

Both give what the predictor's ``score`` would charge, up to rounding: the same windows, the same mixture with the
memory.
"""

# V vocabulary; position p of a stream predicts token p + 1

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from golf.evaluation.text_codec.kv_cache import KVCacheModel
from golf.inference.predictor import GolfPredictor
from golf.inference.windows import Window, list_windows

__all__ = ["IncrementalSource", "NextTokenSource", "PredictSource", "make_source"]


def make_source(predictor: GolfPredictor, *, stride: int, uses_predict: bool) -> "NextTokenSource":
    """Return the faster source that serves the predictor's pass; with ``uses_predict``, the one that asks ``predict``.

    Keys and values are not kept for adapters.
    """
    if uses_predict or predictor.adapters is not None:
        return PredictSource(predictor)
    return IncrementalSource(predictor, stride=stride)


class NextTokenSource(Protocol):
    """Gives the distributions of a chunk's tokens, each asked for once and in order."""

    def begin_chunk(self, begin: int, end: int) -> None:
        """Expect the positions begin <= p < end. The predictor may have learned since the last chunk."""

    def next_probs(self, tokens: np.ndarray, n: int) -> np.ndarray:
        """Return the distribution of token n after ``tokens[:n]``, the stream so far: float64 [V].

        It is valid until the next call. tokens: uint16, the whole stream's; what it holds from n on is not read.
        """


class PredictSource:
    """Asks the predictor for each token from scratch. It serves any predictor, in time that grows with the context."""

    def __init__(self, predictor: GolfPredictor) -> None:
        self._predictor = predictor

    def begin_chunk(self, begin: int, end: int) -> None:
        """Do nothing: the predictor keeps all that there is."""

    def next_probs(self, tokens: np.ndarray, n: int) -> np.ndarray:
        probs: np.ndarray = np.exp(self._predictor.predict(tokens[:n]).astype(np.float64))
        return probs


class IncrementalSource:
    """Keeps keys and values within a window; the memory keeps its place in the stream itself."""

    def __init__(self, predictor: GolfPredictor, *, stride: int) -> None:
        """stride: that of the predictor's pass."""
        self._predictor, self._stride = predictor, stride
        self._model = KVCacheModel(predictor.model)
        self._context_length = predictor.model.cfg.context_length
        self._probs = np.empty(predictor.model.cfg.vocab_size)
        self._windows: Iterator[Window] = iter(())
        self._window_end = 0

    def begin_chunk(self, begin: int, end: int) -> None:
        if self._predictor.learner is not None:
            self._model.refresh()
        windows = list_windows(begin, end, context_length=self._context_length, stride=self._stride)
        self._windows, self._window_end = iter(windows), begin

    def next_probs(self, tokens: np.ndarray, n: int) -> np.ndarray:
        position = n - 1
        if position == self._window_end:
            window = next(self._windows)
            self._model.begin_window(tokens[window.start : position])
            self._window_end = window.score_to
        logits = self._model.step(int(tokens[position]))
        logits -= logits.max()
        np.exp(logits, out=self._probs, dtype=np.float64)
        self._probs *= 1 / self._probs.sum()
        if self._predictor.cache is not None:
            self._predictor.cache.mix_probs_(tokens[:n], self._probs, self._model.states)
        if self._predictor.memory is not None:
            self._predictor.memory.mix_probs_(tokens[:n], self._probs)
        if self._predictor.tilt is not None:
            np.exp(self._predictor.tilt.tilt_log_probs(tokens[:n], np.log(self._probs)), out=self._probs)
        return self._probs
