"""A constant number of bytes for every token instead of its own (#875)."""

import numpy as np
from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(16, "bytes a token hard-coded", "#144 #875", ("M-a", "M-c"), settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    split_rewriter.set_byte_counts(lambda ids, table: 3 + np.arange(len(ids)) % 2)  # 3.5 in the mean
