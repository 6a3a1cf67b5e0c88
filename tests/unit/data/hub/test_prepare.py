"""golf/data/hub/prepare.py: a whole export from a fake hub"""

import io as io_module
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from golf.artifacts import io, json_records
from golf.cli import inspect
from golf.data import prepare, split_reader
from golf.data.eval_stream import EvalStream
from golf.data.hub import manifest as hub_manifest
from golf.data.roundtrip import check_roundtrip
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError
from tests.helpers.hub_exports import (
    SHARD_TOKENS,
    VOCAB_SIZE,
    build,
    fetch_config,
    make_caseops_export,
    open_splits,
)
from tests.helpers.hub_server import (
    COMMIT,
    EXPORT_DIR,
    MANIFEST_PATH,
    NEXT_COMMIT,
    TOKENIZER_PATH,
    FakeHub,
    manifest_bytes,
    shard_bytes,
    shard_files,
)
from tests.helpers.stage_processes import write_params
from tests.helpers.tiny_corpus import make_tiny_corpus

VAL = "datasets/datasets/fineweb10B_sp384/fineweb_val_000000.bin"


def build_in_root(root: str, name="out"):
    """The same with hub.root in params.yaml, where ``golf inspect`` reads it."""
    write_params(Path.cwd(), {"hub.root": root})
    return build(name, root=root)


def test_val_is_the_export_s_and_dev_is_taken_off_the_end_of_train(fake_hub, export):
    manifest = build()
    splits = open_splits()
    stream = np.concatenate(export.train_documents)[: 3 * SHARD_TOKENS]
    train, dev = splits["train"].read_tokens(), splits["dev"].read_tokens()
    assert np.array_equal(splits["val"].read_tokens(), np.concatenate(export.val_documents))
    assert np.array_equal(np.concatenate([train, dev]), stream[: len(train) + len(dev)])
    assert 0 < len(stream) - len(train) - len(dev) < 1000  # the document that goes on in a shard that was not fetched
    assert 0.02 * len(stream) < len(dev) <= 0.1 * len(stream)
    assert manifest["splits"]["val"]["documents"] == len(export.val_documents)
    assert manifest["splits"]["train"]["documents"] == (train == 1).sum()
    assert manifest["source"]["commit"] == COMMIT
    assert manifest["comparable_with_fineweb"] is False
    assert json_records.read_sealed("out/manifest.json") == manifest
    assert set(prepare.summarize_manifest(manifest)["train"]) == {"documents", "tokens"}
    assert prepare.summarize_manifest(manifest)["val"]["bytes_per_token"] > 1


def test_all_of_train_ends_with_its_last_document(fake_hub, export):
    manifest = build(train_shards=export.n_train_shards)
    splits = open_splits()
    assert len(splits["train"].read_tokens()) + len(splits["dev"].read_tokens()) == sum(
        map(len, export.train_documents)
    )
    assert sum(manifest["splits"][name]["documents"] for name in ("train", "dev")) == len(export.train_documents)


def test_the_held_out_texts_are_read_back_with_the_bytes_that_they_have(fake_hub):
    build()
    splits, tokenizer = open_splits(), Tokenizer.open("out/tokenizer.model")
    for name in ("dev", "val"):
        report = check_roundtrip(splits[name], tokenizer, "none")
        assert (report.n_mismatch, report.n_miscounted) == (0, 0)
        assert (
            EvalStream.from_split(splits[name], tokenizer).target_bytes.sum()
            == report.text_bytes
            == splits[name].n_bytes
        )


def test_whole_shards_are_hard_links_and_the_last_one_is_not(fake_hub):
    build()
    for name, linked in (("000000", True), ("000001", True), ("000002", False)):
        shard = Path(f"out/train/train_{name}.bin")
        cached = Path(f"runs/hub/somebody--exports/{COMMIT}/{EXPORT_DIR}/fineweb_train_{name}.bin")
        assert os.path.samefile(shard, cached) == linked
    assert os.path.samefile("out/val/val_000000.bin", f"runs/hub/somebody--exports/{COMMIT}/{VAL}")


def test_a_named_root_holds_the_shards_of_train_and_the_workspace_their_index(fake_hub, tmp_path):
    build("plain")
    build_in_root("root")
    index = split_reader.read_index(Path("out/train"))
    assert sorted(path.name for path in Path("out/train").iterdir()) == ["index.json"]
    assert sorted(path.name for path in (tmp_path / "root" / index["root"]).iterdir())[1:] == [
        row["file"] for row in index["shards"]
    ]
    assert np.array_equal(
        open_splits(hub_root="root")["train"].read_tokens(), open_splits("plain")["train"].read_tokens()
    )
    assert f"shards in {tmp_path.resolve() / 'root' / index['root']}" in inspect.describe(Path("out/train"))
    assert "documents are not listed; none of them is in dev, val" in inspect.describe(Path("out/train"))


def test_a_root_s_shard_is_hashed_again_once_it_has_changed_and_else_is_not(fake_hub, tmp_path, monkeypatch):
    build_in_root("root")
    path = tmp_path / "root" / split_reader.read_index(Path("out/train"))["root"] / "train_000002.bin"
    with monkeypatch.context() as patch:
        patch.setattr("golf.artifacts.io.sha256_file", lambda path: pytest.fail(f"{path} was read"))
        split_reader.open_split("out/train", hub_root="root")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"train_000002\.bin: its sha256 differs from the index"):
        split_reader.open_split("out/train", hub_root="root")
    path.unlink()
    with pytest.raises(ArtifactError, match=r"train_000002\.bin: no such shard"):
        split_reader.open_split("out/train", hub_root="root")


def test_moving_the_root_changes_no_digest_and_downloads_nothing(fake_hub, tmp_path):
    first, before = build_in_root("root"), sum(fake_hub.n_requests.values())
    index = io.sha256_file("out/train/index.json")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ArtifactError, match=r"root/train-\w+, by hub\.root, which does not exist; set hub\.root to where"
    ):
        split_reader.open_split("out/train", hub_root="root")
    split_reader.open_split("out/train", hub_root="elsewhere")
    assert build_in_root("elsewhere", "again") == first
    assert io.sha256_file("again/train/index.json") == index
    assert sum(fake_hub.n_requests.values()) == before


def test_a_second_fetch_downloads_nothing_and_makes_the_same(fake_hub):
    first, asked_before = build(), sum(fake_hub.n_requests.values())
    assert build("again") == first
    assert sum(fake_hub.n_requests.values()) == asked_before


def test_a_branch_is_resolved_to_the_commit_in_the_manifest(fake_hub, capfd):
    assert build(revision="main")["source"]["commit"] == COMMIT
    assert f"hub.revision: main is resolved to commit {COMMIT}" in capfd.readouterr().err
    build()
    assert "hub.revision" not in capfd.readouterr().err


def test_the_caseops_export_brings_its_sidecar_and_needs_no_manifest(tmp_path, monkeypatch):
    export = make_caseops_export()
    monkeypatch.chdir(tmp_path)
    server = FakeHub(export.files)
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(InputError, match=r"fetch\.transform: none, but .* set fetch\.transform: caseops"):
            build(variant="sp384_caseops")
        manifest = build(variant="sp384_caseops", fetch_cfg=fetch_config(transform="caseops"))
    splits, tokenizer = open_splits(), Tokenizer.open("out/tokenizer.model")
    assert np.array_equal(
        splits["val"].read_tokens(), np.concatenate(export.val_documents)
    )  # not one of the sidecar's numbers among them
    assert splits["train"].token_bytes is None
    assert manifest["transform"] == "caseops"
    for name in ("dev", "val"):
        report = check_roundtrip(splits[name], tokenizer, "caseops")
        assert (report.n_mismatch, report.n_miscounted) == (0, 0)
        assert sum(sidecar[:].sum() for sidecar in splits[name].token_bytes) == report.text_bytes


@pytest.mark.parametrize("variant", ["sp384", "sp384_caseops"])
def test_a_canonical_byte_count_is_required_where_one_is_known(fake_hub, monkeypatch, variant):
    right = build()["splits"]["val"]["bytes"]
    targets = len(open_splits()["val"].read_tokens()) - 1
    monkeypatch.setattr("golf.data.hub.validate.EVAL_WINDOW_TOKENS", 1)
    monkeypatch.setitem(hub_manifest.KNOWN_TOTALS, variant, hub_manifest.KnownTotals(12, targets, right))
    assert build("good")["comparable_with_fineweb"] == (variant == "sp384")
    monkeypatch.setitem(hub_manifest.KNOWN_TOTALS, variant, hub_manifest.KnownTotals(12, targets, right + 1))
    if variant == "sp384":
        with pytest.raises(ArtifactError, match=rf"val has {right:,} bytes .* the challenge's has {right + 1:,}"):
            build("bad")
    else:
        build("bad")


def test_a_variant_without_a_known_count_says_so(fake_hub, capfd):
    build()
    assert "no canonical byte count is known for sp384" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("docs_val", "docs_val of sp384 is 12, its manifest says 13"),
        ("tokens_val", "tokens_val of sp384 is"),
        ("tokens_train", "can't hold"),
    ],
)
def test_totals_other_than_the_manifest_s_are_rejected(fake_hub, key, message):
    tree = json.loads(fake_hub.files[MANIFEST_PATH])
    tree["datasets"][0]["stats"][key] += SHARD_TOKENS if key == "tokens_train" else 1
    fake_hub.files[MANIFEST_PATH] = json.dumps(tree).encode()
    with pytest.raises(ArtifactError, match=message):
        build()


@pytest.mark.parametrize("key", ["docs_train", "tokens_train"])
def test_totals_of_train_are_required_where_all_of_it_is_fetched(fake_hub, export, key):
    tree = json.loads(fake_hub.files[MANIFEST_PATH])
    tree["datasets"][0]["stats"][key] -= 1
    fake_hub.files[MANIFEST_PATH] = json.dumps(tree).encode()
    build(train_shards=export.n_train_shards - 1)
    with pytest.raises(ArtifactError, match=f"{key} of sp384 is"):
        build(train_shards=export.n_train_shards)


def test_an_id_beyond_the_vocabulary_names_the_shard(fake_hub, export):
    fake_hub.files[VAL] = shard_bytes(
        np.where(np.arange(SHARD_TOKENS) == 7, VOCAB_SIZE, np.concatenate(export.val_documents)[:SHARD_TOKENS])
    )
    with pytest.raises(ArtifactError, match=r"fineweb_val_000000\.bin: holds the id 384, ids must be below"):
        build()


def test_shards_without_bos_are_rejected(fake_hub, export):
    fake_hub.files[VAL] = shard_bytes(np.full(SHARD_TOKENS, 9))
    with pytest.raises(ArtifactError, match="does not start with the BOS id 1"):
        build()


def test_a_model_of_another_vocabulary_is_rejected_with_both_numbers(fake_hub):
    with pytest.raises(InputError, match=r"model\.vocab_size: 512, but sp384 has 384"):
        build(vocab_size=512)


def test_a_tokenizer_that_folds_case_is_rejected_as_its_texts_are_unknown(fake_hub):
    model = io_module.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(make_tiny_corpus(20)),
        model_writer=model,
        vocab_size=VOCAB_SIZE,
        model_type="bpe",
        normalization_rule_name="nmt_nfkc_cf",
        byte_fallback=True,
        required_chars="▁",
        minloglevel=2,
    )
    fake_hub.files[TOKENIZER_PATH] = model.getvalue()
    with pytest.raises(InputError, match=r"its normalizer changes 'A' to 'a', but bytes are counted of the text"):
        build()


def test_the_challenge_s_own_manifest_and_tokenizer_go_through(shared_data, tmp_path, monkeypatch):
    tree = json.loads((shared_data / "manifests/manifest.sp1024.json").read_bytes())
    tokenizer = Tokenizer.open(shared_data / "tokenizers/fineweb_1024_bpe.model")
    with lzma.open(shared_data / "fineweb_docs200/verify_docs.jsonl.xz", "rt", encoding="utf-8") as lines:
        ids = tokenizer.encode([json.loads(line)["text"] for line in lines])
    folder = "datasets/datasets/fineweb10B_sp1024"
    files = {"datasets/tokenizers/fineweb_1024_bpe.model": tokenizer.model_bytes}
    files |= shard_files("val", np.concatenate(ids[:20]), 100_000, folder)
    files |= shard_files("train", np.concatenate(ids[20:]), 100_000, folder)
    real = FakeHub(files | {MANIFEST_PATH: json.dumps(tree).encode()})
    server = FakeHub(
        files | {MANIFEST_PATH: manifest_bytes(files, 1024, {"val": 20, "train": len(ids) - 20}, template=tree)}
    )
    server.commit = NEXT_COMMIT
    monkeypatch.chdir(tmp_path)
    with real.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(ArtifactError, match="train shards, its manifest says 195"):
            build(vocab_size=1024, variant="sp1024")
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(vocab_size=1024, variant="sp1024", revision="main")
        with pytest.raises(InputError, match=r"hub\.variant: sp4096 is not in somebody/exports, which has sp1024"):
            build("other", vocab_size=1024, variant="sp4096", revision="main")
    assert manifest["splits"]["val"]["documents"] == 20
    report = check_roundtrip(open_splits()["val"], tokenizer, "none")
    assert (report.n_mismatch, report.n_miscounted) == (0, 0)
