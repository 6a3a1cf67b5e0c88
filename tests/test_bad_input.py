"""Whatever a stage is given that it can't use: one message that names the file or key, exit code not 0, nothing
half-written.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import thimble as project
from refusals import GRAPH

from golf.data import shards
from golf.ground import store

UNREAD = {("evaluate", "artifacts/ttt/clock.json")}  # read where quantize.weights is ttt alone
READ = [(name, dep) for name in project.STAGES for dep in GRAPH[name].deps if dep.startswith("artifacts/")]
READ = [pair for pair in READ if pair not in UNREAD]


# ---- texts and tokenizers, at the door of fetch


def no_texts(texts: Path) -> None:
    for path in texts.iterdir():
        path.unlink()


def empty_texts(texts: Path) -> None:
    for path in texts.iterdir():
        path.write_bytes(b"")


def one_text(texts: Path) -> None:
    for path in sorted(texts.iterdir())[1:]:
        path.unlink()


def latin_text(texts: Path) -> None:
    (texts / "07.txt").write_bytes("un café".encode("latin-1"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_texts, "fetch.path: no texts in texts"),
        (empty_texts, "all 60 documents are empty"),
        (one_text, "1 different document at fetch.val_percent = 15"),
        (latin_text, "texts/07.txt: not UTF-8 at byte 6"),
    ],
)
def test_texts_that_can_not_be_used_are_refused_with_a_cure(place, refuse, harm, words):
    harm(place / "texts")
    assert words in refuse("fetch")
    assert not (place / "artifacts/fetch/train").exists()


def test_a_tokenizer_of_another_vocabulary_than_the_models_is_refused_with_both_numbers(place, refuse):
    shutil.copy("artifacts/fetch/tokenizer.model", "mine.model")
    project.turn(place, {"fetch.tokenizer": "mine.model", "model.vocabulary": 512})
    assert "mine.model: has 320 pieces, model.vocabulary is 512" in refuse("fetch")


def test_a_document_longer_than_a_shard_goes_through_fetch_and_train(place):
    project.turn(place, {"fetch.shard_tokens": 600, "train.steps": 3})
    for path in sorted((place / "texts").iterdir())[30:]:
        text = path.read_text(encoding="utf-8")
        path.write_text("\n".join(f"{text} and again {number}" for number in range(12)), encoding="utf-8")
    project.act("fetch")
    train = shards.open_split("artifacts/fetch/train")
    assert max(document["tokens"] for document in train.documents) > 600
    assert {len(shard) for shard in train.shards[:-1]} == {600}
    project.act("train")
    assert store.read_json("artifacts/train/metrics.json")["steps"] == 3


# ---- every artifact that a stage reads, missing, cut short, or with a flipped bit


@pytest.mark.parametrize(("name", "dep"), READ)
def test_a_missing_input_is_named(place, refuse, name, dep):
    path = place / dep
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert dep in refuse(name)


def test_a_missing_clock_of_an_adaptation_upstream_of_the_artifact_is_named(place, refuse):
    project.turn(place, {"quantize.weights": "ttt"})
    (place / "artifacts/ttt/clock.json").unlink()
    assert "artifacts/ttt/clock.json: not found" in refuse("evaluate")


@pytest.mark.parametrize(("name", "dep"), READ)
def test_an_input_cut_short_is_named(place, refuse, name, dep):
    for path in read_files(place, dep):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        assert path.relative_to(place).as_posix() in refuse(name)
        path.write_bytes(data)


@pytest.mark.parametrize(("name", "dep"), [(name, dep) for name, dep in READ if not dep.endswith(".json")])
def test_one_flipped_bit_of_an_input_is_seen_and_its_file_named(place, refuse, name, dep):
    for path in (path for path in read_files(place, dep) if path.suffix != ".json"):
        data = bytearray(path.read_bytes())
        data[len(data) * 2 // 3] ^= 4
        path.write_bytes(data)
        assert path.relative_to(place).as_posix() in refuse(name)
        data[len(data) * 2 // 3] ^= 4
        path.write_bytes(data)


def read_files(place: Path, dep: str) -> list[Path]:
    """Of a dependency, one file of each kind that is read: ema takes a tracked average and leaves the traces alone."""
    if not (place / dep).is_dir():
        return [place / dep]
    files = sorted(path for path in (place / dep).iterdir() if not path.name.startswith("trace"))
    return list({path.suffix: path for path in reversed(files)}.values())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("evaluate", "artifacts/compress/sizes.json"),
        ("evaluate", "artifacts/fetch/manifest.json"),
        ("evaluate", "artifacts/ttt/plan.json"),
        ("evaluate", "artifacts/train/clock.json"),
        ("evaluate", "artifacts/calibrate/clock.json"),
        ("evaluate", "artifacts/quantize/clock.json"),
        ("ema", "artifacts/train/ema/index.json"),
        ("train", "artifacts/fetch/train/index.json"),
    ],
)
def test_json_of_another_kind_is_named(refuse, name, path):
    store.write_json(path, {"something": "else"})
    assert path in refuse(name)


def bad_magic(data: bytes) -> bytes:
    return b"\0\0\0\0" + data[4:]


def large_id(data: bytes) -> bytes:
    return data[:-2] + np.array([320], "<u2").tobytes()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (bad_magic, "not a token shard: magic 0"),
        (lambda data: data[:-1], "4,000 tokens by its header, 3,999.5 by its size"),
        (lambda data: data[:500], "a shard starts with 1024 bytes of header, this file has 500"),
        (large_id, "holds the id 320, ids must be below the vocabulary of 320"),
    ],
)
def test_training_refuses_a_malformed_shard_and_says_what_is_wrong_with_it(place, refuse, harm, words):
    path = place / "artifacts/fetch/train/train_000000.bin"
    path.write_bytes(harm(path.read_bytes()))
    index = store.read_json(path.parent / "index.json")
    index["shards"][0]["sha256"] = store.digest(path)
    store.write_json(path.parent / "index.json", index)
    said = refuse("train")
    assert "artifacts/fetch/train/train_000000.bin" in said
    assert words in said


# ---- artifacts of another configuration


@pytest.mark.parametrize("name", ["ema", "ttt", "calibrate", "quantize"])
def test_weights_of_another_configuration_are_refused_with_the_keys_that_differ(place, refuse, name):
    project.turn(place, {"model.mlp_width": 96})
    said = refuse(name)
    assert "belongs to another configuration: model.mlp_width 64 there, 96 in params.yaml" in said


def test_an_artifact_and_a_text_of_different_vocabularies_do_not_meet(place, refuse):
    index = store.read_json("artifacts/fetch/val/index.json")
    store.write_json("artifacts/fetch/val/index.json", index | {"vocabulary": 400})
    assert "artifacts/fetch/val/index.json: tokens of a vocabulary of 400" in refuse("evaluate")


def test_a_text_of_another_tokenizer_is_refused(place, refuse):
    index = store.read_json("artifacts/fetch/val/index.json")
    store.write_json("artifacts/fetch/val/index.json", index | {"tokenizer_sha256": "0" * 64})
    assert "artifacts/fetch/val: was tokenised with 000000000000" in refuse("evaluate")


def test_hessians_of_other_weights_are_refused(place, refuse):
    project.turn(place, {"ema.decay": 0.9965})
    project.act("ema")
    assert "hessians.safetensors: was measured on other weights" in refuse("quantize")


# ---- figures that cannot be met


def test_a_decay_that_no_trace_covers_is_refused_with_the_covered_range(place, refuse):
    project.turn(place, {"ema.decay": 0.3})
    assert "ema.decay: 0.3 is not covered" in refuse("ema")
    assert not (place / "artifacts/ema/model.safetensors").exists()


def test_an_artifact_over_its_limit_says_by_how_much_and_what_to_turn(place, refuse):
    whole = store.read_json("artifacts/compress/sizes.json")["artifact_bytes"]
    project.turn(place, {"compress.limit_bytes": whole - 9})
    said = refuse("compress")
    assert f"compress.limit_bytes: the artifact is {whole:,} bytes" in said
    assert "9 over" in said
    assert "quantize.matrix_clip" in said
    assert project.files(place / "artifacts/compress") == []


def test_a_loss_that_is_no_number_ends_training_and_names_the_rates(place, refuse):
    project.turn(place, {"train.matrix_lr": 1e30, "train.embed_lr": 1e30})
    said = refuse("train")
    assert "the loss is nan at step" in said
    assert "train.matrix_lr" in said
    assert not (place / "artifacts/train/model.safetensors").exists()


def test_more_rows_than_the_text_has_windows_says_which_key_to_lower(place, refuse):
    project.turn(place, {"train.batch_tokens": 1 << 20})
    assert "train.batch_tokens: 1,048,576 tokens" in refuse("train")


def test_a_value_that_is_no_number_is_named_before_anything_else_is_done(place, refuse):
    project.turn(place, {"ttt.lr": "abc"})
    assert "ttt.lr: must be a number, got 'abc'" in refuse("ttt")
