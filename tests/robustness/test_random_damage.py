"""Random damage to every kind of artifact: no reader accepts it and gives something else."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from golf.artifacts import io, json_records
from golf.cli import text_codec, verification
from golf.compliance import provenance
from golf.compression import code_archive, reader
from golf.config import loader
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.errors import GolfError
from golf.submission.bundle import packing
from golf.training import ema_io

N_DAMAGES = 1000
ENCODED = Path("text.golfz")
CODEC_FILES = text_codec.CodecFiles(
    artifact=Path("artifacts/compress/model.golf"),
    tokenizer=Path("artifacts/fetch/tokenizer.model"),
    plan=Path("artifacts/ttt/plan.json"),
)


def read_split(path: Path):
    split = split_reader.open_split(path.parent)
    stream = EvalStream.from_split(split, Tokenizer.open("artifacts/fetch/tokenizer.model"))
    return stream.tokens.tobytes(), stream.target_bytes.tobytes(), split.bos


def read_tensors(path: Path):
    tensors, meta = io.load_tensors(path)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, meta


def read_artifact(path: Path):
    tensors, header = reader.read(path)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, header


def read_evaluation(path: Path):
    verification.verify_evaluation()
    return io.read_json("artifacts/evaluate/metrics.json"), io.read_json("artifacts/evaluate/verdict.json")


def read_encoded(path: Path):
    Path("text.txt").unlink(missing_ok=True)
    text_codec.decode_file(CODEC_FILES, path, Path("text.txt"), force=True, as_json=False)
    return Path("text.txt").read_bytes()


def read_code(path: Path):
    return code_archive.unpack(path.read_bytes(), path)


def read_plan(path: Path):
    return provenance.read_plan(path, loader.load_config().model.context_length)


def read_ema_index(path: Path):
    cfg = loader.load_config()
    weights, info, _ = ema_io.load(path.parent, cfg.ema.decay, cfg.model)
    return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}, info


READERS: dict[str, Callable[[Path], object]] = {
    "artifacts/fetch/*/*.bin": read_split,
    "artifacts/fetch/*/index.json": read_split,
    "artifacts/fetch/tokenizer.model": lambda path: read_split(Path("artifacts/fetch/val/index.json")),
    "artifacts/fetch/manifest.json": json_records.read_sealed,
    "artifacts/train/ema/index.json": read_ema_index,
    "artifacts/*/timing.json": json_records.read_sealed,
    "artifacts/[cqt]*/*.safetensors": read_tensors,
    "artifacts/ema/model.safetensors": read_tensors,
    "artifacts/ttt/plan.json": read_plan,
    "artifacts/compress/model.golf": read_artifact,
    "artifacts/compress/sizes.json": json_records.read_sealed,
    "artifacts/compress/code.tar.xz": read_code,
    "artifacts/compress/bundle.pyz": lambda path: packing.read_modules(path.read_bytes(), path),
    "artifacts/evaluate/metrics.json": read_evaluation,
    "artifacts/evaluate/verdict.json": read_evaluation,
    "artifacts/evaluate/evaluation_log.jsonl": read_evaluation,
    "artifacts/evaluate/ledgers/*.safetensors": read_evaluation,
    "artifacts/evaluate/code.tar.xz": read_evaluation,
    "text.golfz": read_encoded,
}


def damage(data: bytes, rng: random.Random) -> bytes:
    """A bit flipped, bytes lost, zeroed, repeated or added, or the end cut off."""
    place, length = rng.randrange(len(data)), rng.randint(1, 64)
    kind = rng.choice(["flip", "lose", "zero", "repeat", "add", "cut"])
    if kind == "flip":
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == "cut":
        return data[:place]
    if kind == "add":
        return data[:place] + rng.randbytes(length) + data[place:]
    middle = {"lose": b"", "zero": bytes(len(data[place : place + length])), "repeat": data[place : place + length] * 2}
    return data[:place] + middle[kind] + data[place + length :]


def equal(one, other) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(map(equal, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


@pytest.mark.soak
def test_no_random_damage_to_an_artifact_is_accepted_with_another_content(project_dir, capfd):
    Path("text.in").write_bytes("Words, words, words. Größe 3×5.\n".encode() * 2)
    options = {"mode": "plain", "uses_predict": False, "force": True, "as_json": False}
    text_codec.encode_file(CODEC_FILES, Path("text.in"), None, ENCODED, **options)
    cases = [(path, read) for pattern, read in READERS.items() for path in sorted(Path().glob(pattern))]
    assert len({read for _, read in cases}) == len(set(READERS.values())), "a reader has no file"
    expected = {path: read(path) for path, read in cases}
    rng, n_refused = random.Random(0), 0
    for number in range(N_DAMAGES):
        path, read = cases[number % len(cases)]
        whole = path.read_bytes()
        damaged = damage(whole, rng)
        path.write_bytes(damaged)
        try:
            content = read(path)
        except GolfError:
            n_refused += 1
        else:
            assert damaged == whole or equal(content, expected[path]), f"{number}: {path}"
        path.write_bytes(whole)
    assert n_refused > 0.9 * N_DAMAGES
