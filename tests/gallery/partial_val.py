"""Only a part of val is scored (#1854)."""

from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import VAL_DIR, Violation

from golf.data import split_reader

CASE = Violation(19, "part of val", "#1854", ("M-d",), settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    val = split_reader.open_split(VAL_DIR)
    split_rewriter.write_split(val, split_rewriter.read_documents(val)[:6])
