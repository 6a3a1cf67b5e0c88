"""golf/data/corpus.py"""

import hashlib
import json
import lzma
import platform

import numpy as np
import pytest

from golf.data import canonical, corpus, shards, split, tokenizer
from golf.data.reading import read_back
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.ground import store
from golf.ground.errors import BadInput
from golf.ground.sections import Fetch

SPLITS = ("train", "dev", "val")


def fetch(**changes):
    settings = {
        "source": "files",
        "path": "texts",
        "tokenizer": "train",
        "val_percent": 15,
        "dev_percent": 15,
        "transform": "none",
    }
    return Fetch(**settings | {"shard_tokens": 1000} | changes)


@pytest.fixture(scope="module")
def texts(tmp_path_factory, thimble):
    folder = tmp_path_factory.mktemp("texts")
    rows = [json.dumps({"text": text}) for text in [*thimble, "", thimble[3], "  "]]
    (folder / "a.jsonl.xz").write_bytes(lzma.compress("\n".join(rows).encode()))
    (folder / "b.txt").write_text("One more text, with  spaces\nand lines.", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("fetch")
    return out, corpus.build(fetch(path=str(texts)), 384, out)


def test_every_document_is_in_the_shards_with_its_hash_and_bytes(built, texts, thimble):
    out, _ = built
    model = Tokenizer.open(out / "tokenizer.model")
    found = {}
    for name in SPLITS:
        part = shards.open_split(out / name, 384)
        stream = part.all()
        starts = np.flatnonzero(stream == model.bos)
        assert len(starts) == len(part.documents)
        for row, tokens in zip(part.documents, np.split(stream, starts[1:]), strict=True):
            text = model.processor.decode(tokens[1:].tolist())
            found[row["sha256"]] = text
            assert (row["tokens"], row["bytes"]) == (len(tokens), len(text.encode()))
    wanted = {hashlib.sha256(text.encode()).hexdigest(): " ".join(text.split()) for text in thimble}
    wanted[hashlib.sha256((texts / "b.txt").read_bytes()).hexdigest()] = "One more text, with spaces and lines."
    assert found == wanted


def test_the_bytes_of_a_split_are_those_of_its_stream_by_the_rule(built):
    out, manifest = built
    table = ByteTable.of(Tokenizer.open(out / "tokenizer.model"))
    for name in SPLITS:
        part = shards.open_split(out / name)
        assert table.count(part.all()).sum() == part.bytes == manifest["splits"][name]["bytes"]


def test_the_manifest_says_where_everything_comes_from(built, texts):
    out, manifest = built
    assert store.read_json(out / "manifest.json") == manifest
    source = manifest["source"]
    assert (source["kind"], source["path"]) == ("files", str(texts))
    assert source["files"] == {name: store.digest(texts / name) for name in ("a.jsonl.xz", "b.txt")}
    assert (source["empty"], source["duplicates"]) == (2, 1)
    assert manifest["comparable_with_fineweb"] is False
    assert manifest["transform"] == "none"
    model = store.digest(out / "tokenizer.model")
    assert manifest["tokenizer"] == {"sha256": model, "vocabulary": 384, "bos": 1, "learned_on_train": True}
    for name, row in manifest["splits"].items():
        index = store.read_json(out / name / "index.json")
        assert row["sha256"] == store.digest(out / name / "index.json")
        assert (row["tokens"], row["bytes"], row["documents"]) == (
            index["tokens"],
            index["bytes"],
            len(index["documents"]),
        )
        assert row["raw_bytes"] >= row["bytes"]
        assert index["tokenizer_sha256"] == model
    assert sum(row["raw_bytes"] for row in manifest["splits"].values()) == sum(
        len(text.encode()) for text in {*documents_of(texts)} if text.strip()
    )


@pytest.fixture(scope="module")
def capitals(texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("caseops")
    return out, corpus.build(fetch(path=str(texts), transform="caseops"), 384, out)


@pytest.mark.parametrize("name", ["none", "caseops"])
def test_every_split_gives_back_the_texts_that_its_index_names(built, capitals, name):
    out, manifest = built if name == "none" else capitals
    assert manifest["transform"] == name
    for held in ("dev", "val"):
        part = shards.open_split(out / held)
        found = read_back(part, Tokenizer.open(out / "tokenizer.model"), name)
        assert (found.documents, found.differing, found.miscounted) == (len(part.documents), 0, 0)
        assert found.text_bytes == found.token_bytes == part.bytes


def test_a_document_has_the_same_bytes_and_texts_with_capitals_written_either_way(built, capitals):
    keys = ("sha256", "text", "text_folded", "bytes")
    for name in SPLITS:
        plain, written = (store.read_json(out / name / "index.json")["documents"] for out, _ in (built, capitals))
        assert [[row[key] for key in keys] for row in plain] == [[row[key] for key in keys] for row in written]


def test_the_index_names_the_normalised_text_of_each_document(built, texts):
    rows = [row for name in SPLITS for row in store.read_json(built[0] / name / "index.json")["documents"]]
    for text in documents_of(texts):
        if text.strip():
            row = next(row for row in rows if row["sha256"] == split.digest(text))
            normal = " ".join(text.split())
            assert (row["text"], row["text_folded"]) == (split.digest(normal), split.digest(normal.lower()))


def test_what_is_scored_has_a_sidecar_and_what_is_trained_on_has_none(built, capitals):
    for name in SPLITS:
        assert shards.open_split(built[0] / name).token_bytes is None
        assert (shards.open_split(capitals[0] / name).token_bytes is None) == (name == "train")


def test_a_tokenizer_learned_for_capitals_has_the_four_operators_and_no_capital_pieces(capitals):
    pieces = Tokenizer.open(capitals[0] / "tokenizer.model").pieces
    assert pieces[4:8] == ["\ue001", "\ue002", "\ue003", "\ue004"]
    assert not any(letter.isupper() for piece in pieces[264:] for letter in piece)


def test_a_tokenizer_without_the_operators_is_refused_for_caseops(built, texts, tmp_path):
    given = str(built[0] / "tokenizer.model")
    with pytest.raises(BadInput, match=r"tokenizer\.model: has no piece for U\+E001.*set fetch\.transform: none"):
        corpus.build(fetch(path=str(texts), tokenizer=given, transform="caseops"), 384, tmp_path)


def documents_of(texts):
    return [text for _, text in corpus.gather(fetch(path=str(texts)))[0]]


def test_the_same_texts_give_the_same_files_to_the_byte(built, texts, tmp_path):
    out, _ = built
    corpus.build(fetch(path=str(texts)), 384, tmp_path)
    names = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((out / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_the_tokenizer_never_sees_dev_or_val(texts, tmp_path, monkeypatch):
    seen = []
    learn = tokenizer.train
    monkeypatch.setattr(tokenizer, "train", lambda given, *how: learn(noted(given, seen), *how))
    corpus.build(fetch(path=str(texts)), 384, tmp_path)
    division = split.divide(corpus.gather(fetch(path=str(texts)))[0], 15, 15)
    assert seen == [canonical.text(document.text) for document in division.splits["train"]]


def noted(given, seen):
    for text in given:
        seen.append(text)
        yield text


def test_a_given_tokenizer_is_copied_to_the_byte(built, texts, tmp_path):
    given = built[0] / "tokenizer.model"
    manifest = corpus.build(fetch(path=str(texts), tokenizer=str(given)), 384, tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes() == given.read_bytes()
    assert manifest["tokenizer"]["learned_on_train"] is False


def test_a_given_tokenizer_of_another_vocabulary_is_refused(built, texts, tmp_path):
    with pytest.raises(BadInput, match=r"has 384 pieces, model\.vocabulary is 512"):
        corpus.build(fetch(path=str(texts), tokenizer=str(built[0] / "tokenizer.model")), 512, tmp_path)


def test_too_little_text_for_the_vocabulary_says_what_to_set(texts, tmp_path):
    with pytest.raises(
        BadInput, match=r"model\.vocabulary: the train split yields a tokenizer of \d+ pieces, not 8192"
    ):
        corpus.build(fetch(path=str(texts)), 8192, tmp_path)


def test_documents_longer_than_a_shard_run_over_several(texts, tmp_path):
    corpus.build(fetch(path=str(texts), shard_tokens=16), 384, tmp_path)
    part = shards.open_split(tmp_path / "train", 384)
    assert max(row["tokens"] for row in part.documents) > 16
    assert {len(shard) for shard in part.shards[:-1]} == {16}


def test_the_embedded_corpus_records_the_python_it_came_from(tmp_path, monkeypatch, thimble):
    named = [(f"m{i}.py", text) for i, text in enumerate(thimble)]
    monkeypatch.setattr(corpus.stdlib, "documents", lambda: iter(named))
    manifest = corpus.build(fetch(source="stdlib"), 384, tmp_path)
    assert manifest["source"]["kind"] == "stdlib"
    assert manifest["source"]["python"] == platform.python_version()


def test_only_equal_corpora_have_equal_digests(thimble):
    def digest(texts):
        return corpus.corpus_digest(split.divide(((str(i), text) for i, text in enumerate(texts)), 15, 15))

    assert digest(thimble) == digest(thimble[::-1]) != digest([*thimble[:-1], thimble[-1] + "!"])


def test_metrics_are_the_manifests_figures_and_bytes_per_token(built):
    figures = corpus.metrics(built[1])
    assert list(figures) == list(SPLITS)
    row = built[1]["splits"]["dev"]
    assert figures["dev"]["tokens"] == row["tokens"]
    assert figures["dev"]["bytes_per_token"] == pytest.approx(row["bytes"] / row["tokens"], abs=1e-4)
