"""A word's leading space counted twice, in its piece and again in the loop: 17 % more bytes to divide by (#1687)."""

import numpy as np
from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

THREADS = "#1545 #1576 #1632 #1672 #1687 #1698 #1711 #1712"
CASE = Violation(13, "spaces counted twice", THREADS, ("M-a", "M-c"), settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    split_rewriter.set_byte_counts(
        lambda ids, table: np.append(0, table.count_bytes(ids)) + table.has_leading_space[ids]
    )
