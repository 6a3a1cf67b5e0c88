"""CaseOps scored without its sidecar: the operators, three bytes each, are counted as text (#2071, #2138)."""

import numpy as np
from gallery import harness, split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import TRAIN_DIR, Violation

from tests.helpers import tiny_project

CASE = Violation(
    17,
    "CaseOps without its sidecar",
    "#1797 #2071 #2138",
    ("M-a", "M-c"),
    settings={"fetch.transform": "caseops", "evaluate.headline": "plain"},
)
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    tiny_project.run_stage_in_process("fetch")
    harness.fit_bigrams(TRAIN_DIR)
    split_rewriter.set_byte_counts(lambda ids, table: np.append(0, table.count_bytes(ids)))
