"""Unusable inputs, each at each stage that reads it: one message that names the file or key, and no partial file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.artifacts import io
from golf.data import split_reader
from golf.training import loop
from tests.helpers import tiny_project
from tests.helpers.stage_errors import STAGE_GRAPH

UNREAD = {("evaluate", "artifacts/ttt/timing.json")}  # read only where quantize.weights is ttt
READ = [(name, dep) for name in tiny_project.STAGES for dep in STAGE_GRAPH[name].deps if dep.startswith("artifacts/")]
READ = [pair for pair in READ if pair not in UNREAD]


@pytest.fixture
def project_dir(project_dir):
    """A project whose quantize reads all its inputs: refinement takes calibrate's tokens and the seconds left."""
    tiny_project.set_params(project_dir, {"quantize.refine_steps": 1})
    return project_dir


# ---- texts and tokenizers that fetch reads


def remove_texts(texts: Path) -> None:
    for path in texts.iterdir():
        path.unlink()


def empty_texts(texts: Path) -> None:
    for path in texts.iterdir():
        path.write_bytes(b"")


def keep_one_text(texts: Path) -> None:
    for path in sorted(texts.iterdir())[1:]:
        path.unlink()


def write_latin_1(texts: Path) -> None:
    (texts / "07.txt").write_bytes("un café".encode("latin-1"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_texts, "fetch.path: no texts in texts"),
        (empty_texts, "all 60 documents are empty"),
        (keep_one_text, "1 different document at fetch.val_percent = 15"),
        (write_latin_1, "texts/07.txt: not UTF-8 at byte 6"),
    ],
)
def test_unusable_texts_are_refused_with_the_reason(project_dir, expect_stage_error, damage, words):
    damage(project_dir / "texts")
    assert words in expect_stage_error("fetch")
    assert not (project_dir / "artifacts/fetch/train").exists()


def test_tokenizer_of_another_vocabulary_is_refused_with_both_sizes(project_dir, expect_stage_error):
    shutil.copy("artifacts/fetch/tokenizer.model", "own.model")
    tiny_project.set_params(project_dir, {"fetch.tokenizer": "own.model", "model.vocab_size": 512})
    assert "own.model: has 320 pieces, model.vocab_size is 512" in expect_stage_error("fetch")


def test_document_longer_than_a_shard_goes_through_fetch_and_train(project_dir):
    tiny_project.set_params(project_dir, {"fetch.shard_tokens": 600, "train.steps": 3})
    for path in sorted((project_dir / "texts").iterdir())[30:]:
        text = path.read_text(encoding="utf-8")
        path.write_text("\n".join(f"{text} and again {number}" for number in range(12)), encoding="utf-8")
    tiny_project.run_stage_in_process("fetch")
    train = split_reader.open_split("artifacts/fetch/train")
    assert max(document["tokens"] for document in train.documents) > 600
    assert {len(shard) for shard in train.shards[:-1]} == {600}
    tiny_project.run_stage_in_process("train")
    assert io.read_json("artifacts/train/metrics.json")["steps"] == 3


# ---- every artifact that a stage reads, missing, cut short, or with a flipped bit


@pytest.mark.parametrize(("name", "dep"), READ)
def test_missing_input_is_named(project_dir, expect_stage_error, name, dep):
    path = project_dir / dep
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert dep in expect_stage_error(name)


def test_missing_timing_of_an_adaptation_upstream_of_the_artifact_is_named(project_dir, expect_stage_error):
    tiny_project.set_params(project_dir, {"quantize.weights": "ttt"})
    (project_dir / "artifacts/ttt/timing.json").unlink()
    assert "artifacts/ttt/timing.json: not found" in expect_stage_error("evaluate")


@pytest.mark.parametrize(("name", "dep"), READ)
def test_truncated_input_is_named(project_dir, expect_stage_error, name, dep):
    for path in read_files(project_dir, dep):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        assert path.relative_to(project_dir).as_posix() in expect_stage_error(name)
        path.write_bytes(data)


@pytest.mark.parametrize(("name", "dep"), [(name, dep) for name, dep in READ if not dep.endswith(".json")])
def test_input_with_one_flipped_bit_is_named(project_dir, expect_stage_error, name, dep):
    for path in (path for path in read_files(project_dir, dep) if path.suffix != ".json"):
        data = bytearray(path.read_bytes())
        data[len(data) * 2 // 3] ^= 4
        path.write_bytes(data)
        assert path.relative_to(project_dir).as_posix() in expect_stage_error(name)
        data[len(data) * 2 // 3] ^= 4
        path.write_bytes(data)


def read_files(project_dir: Path, dep: str) -> list[Path]:
    """One file of each type in a dependency. ema reads a tracked average here, and no basis snapshot."""
    if not (project_dir / dep).is_dir():
        return [project_dir / dep]
    files = sorted(path for path in (project_dir / dep).iterdir() if not path.name.startswith("basis"))
    return list({path.suffix: path for path in reversed(files)}.values())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("evaluate", "artifacts/compress/sizes.json"),
        ("evaluate", "artifacts/fetch/manifest.json"),
        ("evaluate", "artifacts/ttt/plan.json"),
        ("evaluate", "artifacts/train/timing.json"),
        ("evaluate", "artifacts/calibrate/timing.json"),
        ("evaluate", "artifacts/quantize/timing.json"),
        ("ema", "artifacts/train/ema/index.json"),
        ("train", "artifacts/fetch/train/index.json"),
    ],
)
def test_json_of_another_kind_is_named(expect_stage_error, name, path):
    io.write_json(path, {"something": "else"})
    assert path in expect_stage_error(name)


def bad_magic(data: bytes) -> bytes:
    return b"\0\0\0\0" + data[4:]


def large_id(data: bytes) -> bytes:
    return data[:-2] + np.array([320], "<u2").tobytes()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (bad_magic, "not a token shard: magic 0"),
        (lambda data: data[:-1], "its header says 4,000 tokens, its size 3,999.5"),
        (lambda data: data[:500], "a header of 1024 bytes, this file has 500"),
        (large_id, "holds the id 320, ids must be below the vocabulary size 320"),
    ],
)
def test_training_refuses_a_malformed_shard_with_the_reason(project_dir, expect_stage_error, damage, words):
    path = project_dir / "artifacts/fetch/train/train_000000.bin"
    path.write_bytes(damage(path.read_bytes()))
    index = io.read_json(path.parent / "index.json")
    index["shards"][0]["sha256"] = io.sha256_file(path)
    io.write_json(path.parent / "index.json", index)
    message = expect_stage_error("train")
    assert "artifacts/fetch/train/train_000000.bin" in message
    assert words in message


# ---- artifacts of another configuration


@pytest.mark.parametrize("name", ["ema", "ttt", "calibrate", "quantize"])
def test_weights_of_another_configuration_are_refused_with_the_keys_that_differ(project_dir, expect_stage_error, name):
    tiny_project.set_params(project_dir, {"model.d_ff": 96})
    message = expect_stage_error(name)
    assert "belongs to another configuration: model.d_ff is 64 in the file, 96 in params.yaml" in message


def test_val_of_another_vocabulary_is_refused(project_dir, expect_stage_error):
    index = io.read_json("artifacts/fetch/val/index.json")
    io.write_json("artifacts/fetch/val/index.json", index | {"vocab_size": 400})
    assert "artifacts/fetch/val/index.json: the tokens are of a vocabulary of 400" in expect_stage_error("evaluate")


def test_val_of_another_tokenizer_is_refused(project_dir, expect_stage_error):
    index = io.read_json("artifacts/fetch/val/index.json")
    io.write_json("artifacts/fetch/val/index.json", index | {"tokenizer_sha256": "0" * 64})
    assert "artifacts/fetch/val: was tokenized with 000000000000" in expect_stage_error("evaluate")


# ---- values that cannot be met


def test_decay_that_no_basis_covers_is_refused(project_dir, expect_stage_error):
    tiny_project.set_params(project_dir, {"ema.decay": 0.3})
    assert "ema.decay: 0.3 is not covered" in expect_stage_error("ema")
    assert not (project_dir / "artifacts/ema/model.safetensors").exists()


def test_artifact_over_its_limit_is_refused_with_the_excess_and_a_key_to_change(project_dir, expect_stage_error):
    n_bytes = io.read_json("artifacts/compress/sizes.json")["artifact_bytes"]
    tiny_project.set_params(project_dir, {"compress.limit_bytes": n_bytes - 9})
    message = expect_stage_error("compress")
    assert f"compress.limit_bytes: the artifact has {n_bytes:,} bytes" in message
    assert "9 over" in message
    assert "quantize.matrix_clip" in message
    assert tiny_project.list_files(project_dir / "artifacts/compress") == []


def test_loss_that_is_not_finite_ends_training_and_names_the_rates(project_dir, expect_stage_error, monkeypatch):
    train_step = loop.train_step
    monkeypatch.setattr(loop, "train_step", lambda *args: (train_step(*args)[0] * float("nan"), torch.ones(())))
    message = expect_stage_error("train")
    assert "the loss is nan at step" in message
    assert "train.muon_lr" in message
    assert not (project_dir / "artifacts/train/model.safetensors").exists()


def test_batch_larger_than_the_text_is_refused_with_the_key_to_lower(project_dir, expect_stage_error):
    tiny_project.set_params(project_dir, {"train.batch_tokens": 1 << 20})
    assert "train.batch_tokens: 1,048,576 tokens" in expect_stage_error("train")


def test_value_that_is_no_number_is_named(project_dir, expect_stage_error):
    tiny_project.set_params(project_dir, {"ttt.lr": "abc"})
    assert "ttt.lr: must be a number, got 'abc'" in expect_stage_error("ttt")
