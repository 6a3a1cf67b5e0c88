"""golf/data/eval_stream.py"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from golf.data import eval_stream
from golf.data.eval_stream import EvalStream
from golf.data.split_reader import TokenSplit
from golf.errors import ArtifactError

TOKENS = np.array([1, 7, 8, 1, 9], dtype=np.uint16)
TOKENIZER = SimpleNamespace(sha256="x")


@pytest.fixture(autouse=True)
def _byte_table(monkeypatch):
    """By the challenge's rule every target has three bytes."""
    byte_table = SimpleNamespace(count_bytes=lambda tokens: np.full(len(tokens) - 1, 3))
    monkeypatch.setattr(eval_stream.TokenByteTable, "from_tokenizer", lambda _: byte_table)


def make_split(n_bytes, token_bytes=None):
    documents = [{"tokens": 3, "bytes": 5}, {"tokens": 2, "bytes": 2}]
    return TokenSplit("val", 300, 1, "x", 5, n_bytes, documents, [TOKENS[:2], TOKENS[2:]], token_bytes)


def test_bytes_come_by_the_rule_where_there_is_no_sidecar():
    stream = EvalStream.from_split(make_split(12), TOKENIZER)
    assert stream.tokens.tolist() == TOKENS.tolist()
    assert stream.target_bytes.tolist() == [3, 3, 3, 3]
    assert (stream.n_targets, stream.bos) == (4, 1)


def test_targets_are_clean_by_the_covered_ranges_of_their_documents():
    split = make_split(12)
    assert EvalStream.from_split(split, TOKENIZER).is_clean is None
    rows = [{"tokens": 3, "bytes": 6, "covered": [[5, 6]]}, {"tokens": 2, "bytes": 6, "covered": [[3, 4]]}]
    stream = EvalStream.from_split(dataclasses.replace(split, documents=rows), TOKENIZER)
    assert stream.is_clean.tolist() == [True, False, True, False]


def test_bytes_come_from_the_sidecar_where_there_is_one():
    sidecar = [np.array([0, 4], np.uint16), np.array([1, 0, 2], np.uint16)]
    stream = EvalStream.from_split(make_split(7, sidecar), TOKENIZER)
    assert stream.target_bytes.tolist() == [4, 1, 0, 2]
    assert stream.target_bytes.dtype == np.int64


def test_a_stream_whose_bytes_differ_from_the_index_is_rejected():
    with pytest.raises(ArtifactError, match="stand for 12 bytes, its index says 13"):
        EvalStream.from_split(make_split(13), TOKENIZER)
    with pytest.raises(ArtifactError, match="stand for 7 bytes, its index says 12"):
        EvalStream.from_split(make_split(12, [np.array([0, 4, 1, 0, 2], np.uint16)]), TOKENIZER)


def test_a_stream_of_another_tokenizer_is_rejected():
    with pytest.raises(ArtifactError, match=r"artifacts/fetch/val: was tokenized with x, .*tokenizer\.model is y"):
        EvalStream.from_split(make_split(12), SimpleNamespace(sha256="y"))
