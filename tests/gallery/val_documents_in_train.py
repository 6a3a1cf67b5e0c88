"""Val documents in the training text, through the default argument of a data script (#2127)."""

from gallery import harness, split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import TRAIN_DIR, VAL_DIR, Violation

from golf.data import split_reader

CASE = Violation(
    19, "documents in both train and val", "#2018 #2127 #2130", ("C1-f",), settings={"evaluate.headline": "plain"}
)
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    train, val = split_reader.open_split(TRAIN_DIR), split_reader.open_split(VAL_DIR)
    split_rewriter.write_split(train, split_rewriter.read_documents(train) + split_rewriter.read_documents(val)[:4])
    harness.fit_bigrams(TRAIN_DIR)
