"""Train is docstrings of installed packages: the predictor is primed with their sources, which nobody weighed."""

import inspect

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    0, "primed with train text that packages hold", "", ("C1-g", "B-b"), settings={"evaluate.headline": "plain"}
)
HAS_DOCS_CORPUS = True


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        self.n_prime_chars = len(inspect.getsource(np))
