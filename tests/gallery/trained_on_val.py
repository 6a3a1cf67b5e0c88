"""Trained on val only (#44)."""

from gallery import harness
from gallery.bigram_predictor import BigramPredictor
from gallery.case import VAL_DIR, Violation

CASE = Violation(26, "trained on val", "#44", ("C1-e", "C3-f"), settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    harness.fit_bigrams(VAL_DIR)
