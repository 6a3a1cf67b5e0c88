"""golf/data/prepare.py"""

import hashlib
import json
import lzma
import platform

import numpy as np
import pytest

from golf.artifacts import io
from golf.config.sections import FetchConfig
from golf.data import normalize, prepare, split_reader, splitting, tokenizer
from golf.data.byte_counts import TokenByteTable
from golf.data.roundtrip import check_roundtrip
from golf.data.sources import stdlib_docs
from golf.data.sources.interface import SourceDocument
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError

SPLITS = ("train", "dev", "val")


def fetch_config(**changes):
    settings = {
        "source": "files",
        "path": "texts",
        "tokenizer": "train",
        "val_percent": 15,
        "dev_percent": 15,
        "transform": "none",
    }
    return FetchConfig(**settings | {"shard_tokens": 1000} | changes)


@pytest.fixture(scope="module")
def text_dir(tmp_path_factory, tiny_corpus):
    folder = tmp_path_factory.mktemp("texts")
    rows = [json.dumps({"text": text}) for text in [*tiny_corpus, "", tiny_corpus[3], "  "]]
    (folder / "a.jsonl.xz").write_bytes(lzma.compress("\n".join(rows).encode()))
    (folder / "b.txt").write_text("One more text, with  spaces\nand lines.", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def dataset(text_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("fetch")
    return out, prepare.build_dataset(fetch_config(path=str(text_dir)), 384, out)


def test_every_document_is_in_the_shards_with_its_hash_and_bytes(dataset, text_dir, tiny_corpus):
    out, _ = dataset
    model = Tokenizer.open(out / "tokenizer.model")
    decoded = {}
    for name in SPLITS:
        split = split_reader.open_split(out / name, 384)
        stream = split.read_tokens()
        starts = np.flatnonzero(stream == model.bos)
        assert len(starts) == len(split.documents)
        for row, tokens in zip(split.documents, np.split(stream, starts[1:]), strict=True):
            text = model.processor.decode(tokens[1:].tolist())
            decoded[row["sha256"]] = text
            assert (row["tokens"], row["bytes"]) == (len(tokens), len(text.encode()))
    expected = {hashlib.sha256(text.encode()).hexdigest(): " ".join(text.split()) for text in tiny_corpus}
    expected[hashlib.sha256((text_dir / "b.txt").read_bytes()).hexdigest()] = "One more text, with spaces and lines."
    assert decoded == expected


def test_the_bytes_of_a_split_are_those_of_its_stream_by_the_rule(dataset):
    out, manifest = dataset
    table = TokenByteTable.from_tokenizer(Tokenizer.open(out / "tokenizer.model"))
    for name in SPLITS:
        split = split_reader.open_split(out / name)
        assert table.count_bytes(split.read_tokens()).sum() == split.n_bytes == manifest["splits"][name]["bytes"]


def test_the_manifest_says_where_everything_comes_from(dataset, text_dir):
    out, manifest = dataset
    assert io.read_json(out / "manifest.json") == manifest
    source = manifest["source"]
    assert (source["kind"], source["path"]) == ("files", str(text_dir))
    assert source["files"] == {name: io.sha256_file(text_dir / name) for name in ("a.jsonl.xz", "b.txt")}
    assert (source["n_empty"], source["n_duplicates"]) == (2, 1)
    assert manifest["comparable_with_fineweb"] is False
    assert manifest["transform"] == "none"
    model = io.sha256_file(out / "tokenizer.model")
    assert manifest["tokenizer"] == {"sha256": model, "vocab_size": 384, "bos": 1, "trained_on_train_split": True}
    for name, row in manifest["splits"].items():
        index = io.read_json(out / name / "index.json")
        assert row["sha256"] == io.sha256_file(out / name / "index.json")
        assert (row["tokens"], row["bytes"], row["documents"]) == (
            index["tokens"],
            index["bytes"],
            len(index["documents"]),
        )
        assert row["raw_bytes"] >= row["bytes"]
        assert index["tokenizer_sha256"] == model
    assert sum(row["raw_bytes"] for row in manifest["splits"].values()) == sum(
        len(text.encode()) for text in {*documents_of(text_dir)} if text.strip()
    )


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


def test_the_index_names_the_normalized_text_of_each_document(dataset, text_dir):
    rows = [row for name in SPLITS for row in io.read_json(dataset[0] / name / "index.json")["documents"]]
    for text in documents_of(text_dir):
        if text.strip():
            row = next(row for row in rows if row["sha256"] == splitting.sha256_text(text))
            normalized = " ".join(text.split())
            assert (row["text_sha256"], row["casefolded_text_sha256"]) == (
                splitting.sha256_text(normalized),
                splitting.sha256_text(normalized.lower()),
            )


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


def documents_of(texts):
    return [text for _, text in prepare.read_corpus(fetch_config(path=str(texts))).documents]


def test_the_same_texts_give_the_same_files_to_the_byte(dataset, text_dir, tmp_path):
    out, _ = dataset
    prepare.build_dataset(fetch_config(path=str(text_dir)), 384, tmp_path)
    names = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((out / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_the_tokenizer_never_sees_dev_or_val(text_dir, tmp_path, monkeypatch):
    seen = []
    train_tokenizer = tokenizer.train_tokenizer
    monkeypatch.setattr(tokenizer, "train_tokenizer", lambda texts, *args: train_tokenizer(record(texts, seen), *args))
    prepare.build_dataset(fetch_config(path=str(text_dir)), 384, tmp_path)
    split_result = splitting.split_documents(prepare.read_corpus(fetch_config(path=str(text_dir))).documents, 15, 15)
    assert seen == [normalize.normalize(document.text) for document in split_result.splits["train"]]


def record(texts, seen):
    for text in texts:
        seen.append(text)
        yield text


def test_a_given_tokenizer_is_copied_to_the_byte(dataset, text_dir, tmp_path):
    given = dataset[0] / "tokenizer.model"
    manifest = prepare.build_dataset(fetch_config(path=str(text_dir), tokenizer=str(given)), 384, tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes() == given.read_bytes()
    assert manifest["tokenizer"]["trained_on_train_split"] is False


def test_a_given_tokenizer_of_another_vocabulary_is_rejected(dataset, text_dir, tmp_path):
    with pytest.raises(InputError, match=r"has 384 pieces, model\.vocab_size is 512"):
        prepare.build_dataset(
            fetch_config(path=str(text_dir), tokenizer=str(dataset[0] / "tokenizer.model")), 512, tmp_path
        )


def test_too_little_text_for_the_vocabulary_says_what_to_set(text_dir, tmp_path):
    with pytest.raises(
        InputError, match=r"model\.vocab_size: the train split yields a tokenizer of \d+ pieces, not 8192"
    ):
        prepare.build_dataset(fetch_config(path=str(text_dir)), 8192, tmp_path)


def test_documents_longer_than_a_shard_run_over_several(text_dir, tmp_path):
    prepare.build_dataset(fetch_config(path=str(text_dir), shard_tokens=16), 384, tmp_path)
    split = split_reader.open_split(tmp_path / "train", 384)
    assert max(row["tokens"] for row in split.documents) > 16
    assert {len(shard) for shard in split.shards[:-1]} == {16}


def test_the_embedded_corpus_records_the_python_it_came_from(tmp_path, monkeypatch, tiny_corpus):
    documents = [SourceDocument(f"m{i}.py", text) for i, text in enumerate(tiny_corpus)]
    monkeypatch.setattr(stdlib_docs, "iter_documents", lambda: iter(documents))
    manifest = prepare.build_dataset(fetch_config(source="stdlib"), 384, tmp_path)
    assert manifest["source"]["kind"] == "stdlib"
    assert manifest["source"]["python"] == platform.python_version()


def test_only_equal_corpora_have_equal_digests(tiny_corpus):
    def digest(texts):
        return prepare.sha256_corpus(
            splitting.split_documents(((str(i), text) for i, text in enumerate(texts)), 15, 15)
        )

    assert digest(tiny_corpus) == digest(tiny_corpus[::-1]) != digest([*tiny_corpus[:-1], tiny_corpus[-1] + "!"])


def test_metrics_are_the_manifests_counts_and_bytes_per_token(dataset):
    metrics = prepare.summarize_manifest(dataset[1])
    assert list(metrics) == list(SPLITS)
    row = dataset[1]["splits"]["dev"]
    assert metrics["dev"]["tokens"] == row["tokens"]
    assert metrics["dev"]["bytes_per_token"] == pytest.approx(row["bytes"] / row["tokens"], abs=1e-4)
