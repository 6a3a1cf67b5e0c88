"""The artifacts of a small run, with their lineage and without a stage."""

import numpy as np
import torch

from golf.artifacts import io, lineage
from golf.data import split_writer

HESSIANS = "artifacts/calibrate/hessians.safetensors"
CODES = "artifacts/quantize/codes.safetensors"
TRAINED = "artifacts/train/model.safetensors"
ADAPTED = "artifacts/ttt/model.safetensors"
GOLF = "artifacts/compress/model.golf"
CODE = "artifacts/compress/code.tar.xz"
BUNDLE = "artifacts/compress/bundle.pyz"
SIZES = "artifacts/compress/sizes.json"
VAL = "artifacts/fetch/val"


def write_split(name: str, documents: int) -> None:
    tokens = np.array([1, 2, 3], dtype=np.uint16)
    names = [f"{number:064}" for number in range(documents)]
    rows = [split_writer.EncodedDocument(name, name, name, bytes=5, tokens=tokens) for name in names]
    about = {"vocab_size": 300, "bos": 1, "tokenizer_sha256": "0" * 64, "shard_tokens": 1000}
    split_writer.write_split(f"artifacts/fetch/{name}", name, rows, **about)


def write_artifact(path: str, stage: str, inputs: dict, **kwargs) -> None:
    """A file as the stage would write it, with its lineage."""
    record = lineage.make_lineage(stage, inputs, **kwargs)
    io.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta={"lineage": record})


def write_run(stream: str) -> None:
    """A small run in the current folder, whose artifact is made from weights that were adapted on ``stream``."""
    for name, documents in (("train", 7), ("dev", 2), ("val", 3)):
        write_split(name, documents)
    write_artifact(TRAINED, "train", {"train": "artifacts/fetch/train"}, seed=42, world_size=8)
    write_artifact(ADAPTED, "ttt", {"weights": TRAINED, "stream": f"artifacts/fetch/{stream}"})
    write_artifact(HESSIANS, "calibrate", {"weights": ADAPTED, "train": "artifacts/fetch/train"})
    write_artifact(CODES, "quantize", {"weights": ADAPTED, "hessians": HESSIANS})
    io.write_bytes(GOLF, b"GOLF")
    io.write_bytes(CODE, b"code")
    io.write_bytes(BUNDLE, b"bundle")
    record = lineage.make_lineage("compress", {"codes": CODES})
    files = {"payload": GOLF, "code": CODE, "bundle": BUNDLE}
    digests = {f"{kind}_sha256": io.sha256_file(path) for kind, path in files.items()}
    sizes = digests | {"splits_seen": record["splits_seen"], "lineage": record}
    io.write_json(SIZES, sizes)
