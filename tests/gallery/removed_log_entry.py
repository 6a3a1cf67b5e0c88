"""The best of several evaluations, with the others removed from the log of evaluations (#573)."""

from pathlib import Path

from gallery import harness
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    0,
    "best of several evaluations, the others unlogged",
    "#573 #576",
    ("C4-c",),
    settings={"evaluate.headline": "plain"},
)
CasePredictor = BigramPredictor
LOG_PATH = Path("artifacts/evaluate/evaluation_log.jsonl")


def prepare_project(project_dir) -> None:
    harness.run_evaluation()
    LOG_PATH.write_bytes(b"".join(LOG_PATH.read_bytes().splitlines(keepends=True)[1:]))
