"""A text made easier before it becomes val: every digit is the same one, and none can be restored."""

import dataclasses

import numpy as np
from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import VAL_DIR, Violation

from golf.data import split_reader
from golf.data.tokenizer import Tokenizer

CASE = Violation(18, "digits folded into one", "", ("M-a", "M-b", "M-c"), settings={"evaluate.headline": "plain"})
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    pieces = Tokenizer.open(split_rewriter.TOKENIZER_PATH).pieces
    ids = np.arange(len(pieces), dtype=np.uint16)
    digits = [pieces.index(digit) for digit in "0123456789" if digit in pieces]
    ids[digits] = digits[0]
    documents = split_rewriter.read_documents(split_reader.open_split(VAL_DIR))
    split_rewriter.replace_val(dataclasses.replace(document, tokens=ids[document.tokens]) for document in documents)
