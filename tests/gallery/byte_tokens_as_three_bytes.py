"""Scylla: byte pieces, each one byte of text, are counted as three bytes (#1143, #1184)."""

import numpy as np
from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    14, "byte pieces counted as three", "#1143 #1184 #1289", ("M-a", "M-c"), settings={"evaluate.headline": "plain"}
)
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    split_rewriter.set_byte_counts(
        lambda ids, table: np.append(0, table.count_bytes(ids)) + 2 * ((ids > 3) & (ids < 260))
    )
