"""golf/data/prepare.py"""

import dataclasses
import hashlib
import io as io_module
import json
import platform

import numpy as np
import pytest
import sentencepiece

from golf.artifacts import io, json_records
from golf.data import normalize, prepare, split_reader, splitting
from golf.data.byte_counts import TokenByteTable
from golf.data.sources import stdlib_docs
from golf.data.sources.interface import SourceDocument
from golf.data.tokenization import trainer
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError
from tests.helpers.fetched_texts import SPLITS, fetch_config


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
    assert json_records.read_sealed(out / "manifest.json") == manifest
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


def documents_of(texts):
    return [document.text for document in prepare.read_corpus(fetch_config(path=str(texts))).documents]


def test_the_same_texts_give_the_same_files_to_the_byte(dataset, text_dir, tmp_path):
    out, _ = dataset
    prepare.build_dataset(fetch_config(path=str(text_dir)), 384, tmp_path)
    names = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((out / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_the_tokenizer_never_sees_dev_or_val(text_dir, tmp_path, monkeypatch):
    seen = []
    train_tokenizer = trainer.train_tokenizer
    monkeypatch.setattr(trainer, "train_tokenizer", lambda texts, *args: train_tokenizer(record(texts, seen), *args))
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


def test_a_given_tokenizer_that_can_not_serve_is_rejected_before_the_texts_are_read(tiny_corpus, tmp_path, monkeypatch):
    folding = io_module.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in tiny_corpus for line in text.split("\n") if line),
        model_writer=folding,
        vocab_size=330,
        model_type="bpe",
        normalization_rule_name="nmt_nfkc_cf",
        byte_fallback=True,
        minloglevel=2,
    )
    (tmp_path / "folding.model").write_bytes(folding.getvalue())
    monkeypatch.setattr(prepare, "read_corpus", lambda fetch_cfg: pytest.fail("reads the texts"))
    for path, problem in (
        (tmp_path / "folding.model", r"folding\.model: its normalizer changes 'A' to 'a', but bytes are counted of"),
        ("/dev/zero", "/dev/zero: not a regular file"),
        (tmp_path / "none.model", r"none\.model: no such tokenizer file"),
    ):
        with pytest.raises(InputError, match=problem):
            prepare.build_dataset(fetch_config(tokenizer=str(path)), 330, tmp_path)


def test_the_end_says_how_many_documents_were_empty_and_the_training_on_how_much_text(text_dir, tmp_path, capsys):
    prepare.build_dataset(fetch_config(path=str(text_dir)), 384, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "fetch     left out: 2 empty documents, 1 duplicate"
    assert "fetch     tokenizer: 384 pieces, trained on 0.0 of 0.0 MB of train" in lines
    assert any(line.startswith("fetch     0/") and "train documents  encoded 100%" in line for line in lines)


def test_rare_characters_of_many_are_left_to_bytes_by_the_coverage(tmp_path):
    (tmp_path / "texts").mkdir()
    text = "".join(chr(0x4E00 + number) * (1 + 400 // (number + 1)) for number in range(600))
    for number in range(60):
        (tmp_path / f"texts/{number}.txt").write_text(text[number:] + str(number), encoding="utf-8")
    cfg = fetch_config(path=str(tmp_path / "texts"), contamination=False)
    with pytest.raises(
        InputError, match=r"set fetch\.character_coverage: 0\.\d+ .*, or model\.vocab_size: 8\d\d or more"
    ):
        prepare.build_dataset(cfg, 500, tmp_path)
    prepare.build_dataset(dataclasses.replace(cfg, character_coverage=0.8), 500, tmp_path)
    for name in SPLITS:
        assert split_reader.open_split(tmp_path / name, 500).n_bytes > 1000


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


def test_the_manifest_names_what_is_held_out_and_counts_what_is_left_out_of_it(dataset, text_dir, tmp_path):
    held_out = dataset[1]["held_out"]
    assert (held_out["rule"], held_out["left_out"]) == ("documents", {})
    for name, names in held_out["documents"].items():
        assert len(names) == dataset[1]["splits"][name]["documents"]
        assert all(document.startswith(("a.jsonl.xz:", "b.txt")) for document in names)
    assert dataset[1]["splits"]["val"]["contamination"] > 0

    strict = prepare.build_dataset(fetch_config(path=str(text_dir), held_out="strict"), 384, tmp_path)
    assert set(strict["held_out"]["left_out"]) == {"dev", "val"}
    for name, counts in strict["held_out"]["left_out"].items():
        before, after = dataset[1]["splits"][name], strict["splits"][name]
        assert counts["paragraphs"] >= counts["documents"] == before["documents"] - after["documents"]
        assert counts["bytes"] == before["bytes"] - after["bytes"] > 0
        assert after["contamination"] == 0
    assert io.sha256_file(tmp_path / "train/index.json") == io.sha256_file(dataset[0] / "train/index.json")


def test_a_contamination_that_is_not_measured_is_null_and_not_in_the_index(text_dir, tmp_path):
    manifest = prepare.build_dataset(fetch_config(path=str(text_dir), contamination=False), 384, tmp_path)
    assert {row["contamination"] for row in manifest["splits"].values()} == {None}
    assert "covered" not in (tmp_path / "val/index.json").read_text()


def test_documents_of_one_line_that_all_repeat_train_name_the_key_that_keeps_them(tmp_path):
    sentence = "This sentence of more than sixty-four bytes is the beginning of every line that follows here"
    rows = [json.dumps({"text": f"{sentence} {number}"}) for number in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"for dev and val: .*fetch\.held_out: strict.*set fetch\.held_out: documents"):
        prepare.build_dataset(fetch_config(path=str(tmp_path), held_out="strict"), 384, tmp_path / "out")


def test_repeated_docstrings_are_counted_and_kept_once(tmp_path, monkeypatch, tiny_corpus):
    documents = [SourceDocument.from_sections(f"m{i}.py", [text, "Same."]) for i, text in enumerate(tiny_corpus)]
    monkeypatch.setattr(stdlib_docs, "iter_documents", lambda: iter(documents))
    manifest = prepare.build_dataset(fetch_config(source="stdlib"), 384, tmp_path)
    assert manifest["source"]["n_repeated_sections"] == len(tiny_corpus) - 1


def test_only_equal_corpora_have_equal_digests(tiny_corpus):
    def digest(texts):
        documents = (SourceDocument(str(i), text) for i, text in enumerate(texts))
        return prepare.sha256_corpus(splitting.split_documents(documents, 15, 15))

    assert digest(tiny_corpus) == digest(tiny_corpus[::-1]) != digest([*tiny_corpus[:-1], tiny_corpus[-1] + "!"])


def test_metrics_are_the_manifests_counts_and_bytes_per_token(dataset):
    metrics = prepare.summarize_manifest(dataset[1])
    assert list(metrics) == list(SPLITS)
    row = dataset[1]["splits"]["dev"]
    assert metrics["dev"]["tokens"] == row["tokens"]
    assert metrics["dev"]["bytes_per_token"] == pytest.approx(row["bytes"] / row["tokens"], abs=1e-4)
