"""CaseOps: capitals become operators and lower-case letters, exactly reversible, every byte counted once (#1729)."""

from gallery import harness
from gallery.bigram_predictor import BigramPredictor
from gallery.case import TRAIN_DIR, Compliant

from tests.helpers import tiny_project

CASE = Compliant(
    "reversible CaseOps tokenizer with exact bytes",
    "#1729 #1736",
    settings={"fetch.transform": "caseops", "evaluate.headline": "plain"},
)
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    tiny_project.run_stage_in_process("fetch")
    harness.fit_bigrams(TRAIN_DIR)
