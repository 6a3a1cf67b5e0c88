"""golf/data/contamination.py"""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.config import loader
from golf.data import normalize, prepare, split_reader, splitting, transforms
from golf.data.contamination import COVERED, find_clean_targets, measure_contamination
from golf.data.eval_stream import EvalStream
from golf.data.overlap import find_runs
from golf.data.tokenizer import Tokenizer
from golf.evaluation import bpb
from golf.evaluation.ledger import Ledger
from tests.helpers.tiny_corpus import ROOT

PLANTED = "Übrigens: this paragraph stands word for word in a document of train and in one of val, naïvely copied."


def row(mask):
    return {"bytes": len(mask), COVERED: [list(edges) for edges in find_runs(np.array(mask, dtype=bool))]}


def test_the_share_is_that_of_the_bytes_and_unknown_where_fetch_did_not_measure():
    documents = [row([True, False, False]), row([False]), row([True, True, False, True])]
    assert measure_contamination(documents) == 4 / 8
    assert measure_contamination([row([False] * 3)]) == 0
    assert measure_contamination([]) is None
    assert measure_contamination([{"bytes": 3}]) is None
    assert find_clean_targets([{"bytes": 3}], np.array([1, 2])) is None


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15)), min_size=1, max_size=8),
        min_size=1,
        max_size=5,
    )
)
def test_a_target_is_clean_if_none_of_its_bytes_is_covered(documents):
    """A target is drawn as a number of bytes and the bits of which of them are covered; a BOS has none."""
    rows, target_bytes, expected = [], [], []
    for targets in documents:
        masks = [[bool(bits >> i & 1) for i in range(n_bytes)] for n_bytes, bits in targets]
        rows.append(row([is_covered for mask in masks for is_covered in mask]))
        target_bytes += [0, *map(len, masks)]
        expected += [True, *(not any(mask) for mask in masks)]
    is_clean = find_clean_targets(rows, np.array(target_bytes[1:], dtype=np.int64))
    assert is_clean.tolist() == expected[1:]


def find_text(split_name, own):
    """A text of this split with the planted paragraph: the split follows from the hash."""
    candidates = (f"{own}\n\n{PLANTED}\n\nÇa {number}" for number in itertools.count())
    keys = ((text, splitting.sha256_text(normalize.normalize(text))) for text in candidates)
    return next(text for text, key in keys if splitting.assign_split(key, 15.0, 15.0) == split_name)


@pytest.fixture(scope="module", params=["none", "caseops"])
def dataset(request, tiny_corpus, tmp_path_factory):
    """A data set with a paragraph of train in a document of val, between text of its own with multi-byte characters."""
    folder = tmp_path_factory.mktemp("texts")
    texts = [
        *tiny_corpus,
        find_text("train", "Née so, only in train."),
        find_text("val", "日本 und ÄÖÜ: nowhere else."),
    ]
    for number, text in enumerate(texts):
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    settings = {"source": "files", "path": str(folder), "val_percent": 15.0, "dev_percent": 15.0}
    cfg = dataclasses.replace(
        loader.load_config(ROOT / "profiles/laptop.yaml").fetch,
        **settings,
        held_out="documents",
        contamination=True,
        transform=request.param,
    )
    out = tmp_path_factory.mktemp("fetch")
    return out, prepare.build_dataset(cfg, 384, out)


def read_texts(out, name):
    """The text of each document of a split, as its tokens decode."""
    split, tokenizer = split_reader.open_split(out / name), Tokenizer.open(out / "tokenizer.model")
    transform = transforms.get_transform(json.loads((out / "manifest.json").read_bytes())["transform"])
    documents = np.split(split.read_tokens(), split.find_document_starts()[1:])
    return [transform.decode_pieces(tokenizer.ids_to_bytes(ids)) for ids in documents]


def mask_slowly(texts, train_texts):
    """bool: which bytes lie in a window of 64 bytes that is in train, by substring search."""
    masks = []
    for text in texts:
        data = text.encode()
        mask = [False] * len(data)
        for start in range(len(data) - 63):
            if any(data[start : start + 64] in other.encode() for other in train_texts):
                mask[start : start + 64] = [True] * 64
        masks.append(mask)
    return masks


def test_a_planted_paragraph_gives_the_share_of_its_bytes(dataset):
    out, manifest = dataset
    train_texts = read_texts(out, "train")
    assert any(PLANTED in text for text in train_texts)
    assert any(PLANTED in text for text in read_texts(out, "val"))
    for name in ("dev", "val"):
        index = split_reader.read_index(out / name)
        masks = mask_slowly(read_texts(out, name), train_texts)
        assert index["documents"] == [
            document | row(mask) for document, mask in zip(index["documents"], masks, strict=True)
        ]
        share = sum(map(sum, masks)) / sum(map(len, masks))
        assert manifest["splits"][name]["contamination"] == pytest.approx(share, abs=1e-12)
    assert manifest["splits"]["train"]["contamination"] is None
    assert not any(COVERED in document for document in split_reader.read_index(out / "train")["documents"])


def test_clean_bpb_is_the_nats_of_clean_targets_over_their_bytes(dataset):
    out, _ = dataset
    stream = EvalStream.from_split(split_reader.open_split(out / "val"), Tokenizer.open(out / "tokenizer.model"))
    mask = [is_covered for part in mask_slowly(read_texts(out, "val"), read_texts(out, "train")) for is_covered in part]
    nll = np.random.default_rng(0).uniform(0, 8, stream.n_targets)
    ledger = Ledger("plain", bos=stream.bos)
    ledger.append(stream.tokens, nll, stream.target_bytes, is_last=True)
    data = ledger.to_data()
    nats, n_bytes, position, n_zero_bytes = 0.0, 0, 0, 0
    for target_nats, target_bytes in zip(data.nll.tolist(), stream.target_bytes.tolist(), strict=True):
        if not any(mask[position : position + target_bytes]):
            nats, n_bytes = nats + target_nats, n_bytes + target_bytes
        position, n_zero_bytes = position + target_bytes, n_zero_bytes + (target_bytes == 0)
    assert position == len(mask) > n_bytes > 0
    assert n_zero_bytes > 0
    assert bpb.compute_bpb(data, stream.is_clean) == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-12)
