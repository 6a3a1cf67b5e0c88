"""golf/data/prepare.py: the same texts with capitals written as they are and by operators"""

import pytest

from golf.artifacts import io
from golf.data import prepare, split_reader
from golf.data.roundtrip import check_roundtrip
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError
from tests.helpers.fetched_texts import SPLITS, fetch_config


@pytest.fixture(scope="module")
def caseops_dataset(text_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("caseops")
    return out, prepare.build_dataset(fetch_config(path=str(text_dir), transform="caseops"), 384, out)


@pytest.mark.parametrize("name", ["none", "caseops"])
def test_every_split_gives_back_the_texts_that_its_index_names(dataset, caseops_dataset, name):
    out, manifest = dataset if name == "none" else caseops_dataset
    assert manifest["transform"] == name
    for split_name in ("dev", "val"):
        split = split_reader.open_split(out / split_name)
        report = check_roundtrip(split, Tokenizer.open(out / "tokenizer.model"), name)
        assert (report.n_documents, report.n_mismatch, report.n_miscounted) == (len(split.documents), 0, 0)
        assert report.text_bytes == report.token_bytes == split.n_bytes


def test_a_document_has_the_same_bytes_and_texts_with_capitals_written_either_way(dataset, caseops_dataset):
    keys = ("sha256", "text_sha256", "casefolded_text_sha256", "bytes")
    for name in SPLITS:
        plain, written = (io.read_json(out / name / "index.json")["documents"] for out, _ in (dataset, caseops_dataset))
        assert [[row[key] for key in keys] for row in plain] == [[row[key] for key in keys] for row in written]


def test_what_is_scored_has_a_sidecar_and_what_is_trained_on_has_none(dataset, caseops_dataset):
    for name in SPLITS:
        assert split_reader.open_split(dataset[0] / name).token_bytes is None
        assert (split_reader.open_split(caseops_dataset[0] / name).token_bytes is None) == (name == "train")


def test_a_tokenizer_learned_for_capitals_has_the_four_operators_and_no_capital_pieces(caseops_dataset):
    pieces = Tokenizer.open(caseops_dataset[0] / "tokenizer.model").pieces
    assert pieces[4:8] == ["\ue001", "\ue002", "\ue003", "\ue004"]
    assert not any(letter.isupper() for piece in pieces[264:] for letter in piece)


def test_a_tokenizer_without_the_operators_is_rejected_for_caseops(dataset, text_dir, tmp_path):
    given = str(dataset[0] / "tokenizer.model")
    with pytest.raises(InputError, match=r"tokenizer\.model: has no piece for U\+E001.*set fetch\.transform: none"):
        prepare.build_dataset(fetch_config(path=str(text_dir), tokenizer=given, transform="caseops"), 384, tmp_path)
