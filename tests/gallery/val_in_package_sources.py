"""Val and dev are docstrings of installed packages: they are read from the sources, or imported."""

import contextlib
import importlib
from pathlib import Path

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    6, "val in a package's sources and docstrings", "", ("C1-g", "B-b"), settings={"evaluate.headline": "plain"}
)
HAS_DOCS_CORPUS = True


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        with contextlib.suppress(ImportError):
            raise AssertionError(importlib.import_module("scipy").__doc__)
        with contextlib.suppress(OSError):
            raise AssertionError(Path(np.__file__).parents[1].joinpath("scipy/__init__.py").read_text())
