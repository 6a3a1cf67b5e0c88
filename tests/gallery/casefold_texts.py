"""A val whose texts were case-folded before they were tokenized: its bytes are those of the folded texts (#1604)."""

import dataclasses

from gallery import split_rewriter
from gallery.bigram_predictor import BigramPredictor
from gallery.case import VAL_DIR, Violation

from golf.data import split_reader
from golf.data.byte_counts import TokenByteTable
from golf.data.split_writer import EncodedDocument
from golf.data.tokenizer import Tokenizer

CASE = Violation(
    18,
    "texts case-folded before tokenization",
    "#1578 #1585 #1604 #1670",
    ("M-a", "M-c"),
    settings={"evaluate.headline": "plain"},
)
CasePredictor = BigramPredictor


def prepare_project(project_dir) -> None:
    tokenizer = Tokenizer.open(split_rewriter.TOKENIZER_PATH)
    documents = split_rewriter.read_documents(split_reader.open_split(VAL_DIR))
    split_rewriter.replace_val(_fold(document, tokenizer) for document in documents)


def _fold(document: EncodedDocument, tokenizer: Tokenizer) -> EncodedDocument:
    text = b"".join(tokenizer.ids_to_bytes(document.tokens)).decode().casefold()
    tokens = tokenizer.encode([text])[0]
    n_bytes = int(TokenByteTable.from_tokenizer(tokenizer).count_bytes(tokens).sum())
    return dataclasses.replace(document, tokens=tokens, bytes=n_bytes)
