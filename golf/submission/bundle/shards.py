"""The texts that a bundled script trains on and is scored on: the contest's exports, or the folder of golf's fetch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.config.model import ModelConfig
from golf.data.byte_counts import TokenByteTable
from golf.data.eval_stream import EvalStream
from golf.data.shard_file import ShardReader, read_shard
from golf.data.split_reader import TokenSplit
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError

__all__ = ["BundleData", "open_data"]


@dataclass(frozen=True)
class BundleData:
    """What a run reads. is_export: whether the files are the contest's, so that val is FineWeb's."""

    train: TokenSplit
    dev: TokenSplit
    val: EvalStream
    is_export: bool


def open_data(folder: str, tokenizer_path: str, model_cfg: ModelConfig, dev_tokens: int) -> BundleData:
    """Open the shards of a folder.

    Either the folder holds the contest's ``fineweb_train_*.bin`` and ``fineweb_val_*.bin``, of which the last
    ``dev_tokens`` + 1 tokens of train are held out as dev; or it is the folder of golf's fetch, with train/, dev/ and
    val/. Bytes of val are the sidecar's (``*_bytes_*.bin``), or those of the challenge's rule.
    Raises InputError when files are missing or the tokenizer has another vocabulary or BOS, and ArtifactError for a
    damaged shard.
    """
    tokenizer = Tokenizer.open(tokenizer_path)
    tokenizer.require_vocab_size(model_cfg.vocab_size)
    if model_cfg.smear_gate_bos_id not in (None, tokenizer.bos):
        problem = (
            f"documents start with the id {tokenizer.bos}, model.smear_gate_bos_id is {model_cfg.smear_gate_bos_id}"
        )
        raise InputError(f"{tokenizer_path}: {problem}")
    root = Path(folder)
    is_export = not (root / "train").is_dir()
    if is_export:
        names = {name: (root, f"fineweb_{name}_") for name in ("train", "val")}
    else:
        names = {name: (root / name, f"{name}_") for name in ("train", "dev", "val")}
    shards = {name: _open_shards(*place, "[0-9]*.bin") for name, place in names.items()}
    if is_export:
        *first, last = shards["train"]
        n_kept = len(last) - dev_tokens - 1
        if n_kept < 1:
            raise InputError(f"{folder}: its last train shard has {len(last):,} tokens, too few to hold out dev")
        shards |= {"train": [*first, last[:n_kept]], "dev": [last[n_kept:]]}
    sidecar = _open_shards(*names["val"], "bytes_*.bin", is_required=False)
    tokens = np.concatenate(shards["val"])
    if (largest := int(tokens.max())) >= tokenizer.vocab_size:
        raise InputError(f"{folder}: val holds the id {largest}, the tokenizer has {tokenizer.vocab_size} pieces")
    if sidecar:
        target_bytes = np.concatenate(sidecar)[1:].astype(np.int64)
    else:
        target_bytes = TokenByteTable.from_tokenizer(tokenizer).count_bytes(tokens)
    index_path = root / "train/index.json"
    documents = json.loads(index_path.read_bytes())["documents"] if index_path.is_file() else []
    train = _make_split("train", shards["train"], tokenizer, documents)
    dev = _make_split("dev", shards["dev"], tokenizer, [])
    return BundleData(train, dev, EvalStream(tokens, target_bytes, tokenizer.bos), is_export)


def _open_shards(
    folder: Path, prefix: str, pattern: str, *, is_required: bool = True
) -> list[ShardReader | np.ndarray]:
    paths = sorted(folder.glob(prefix + pattern))
    if is_required and not paths:
        raise InputError(f"{folder}: holds no {prefix}*.bin; set DATA_PATH to the folder of the token shards")
    return [read_shard(path) for path in paths]


def _make_split(
    name: str, shards: list[ShardReader | np.ndarray], tokenizer: Tokenizer, documents: list[dict[str, Any]]
) -> TokenSplit:
    return TokenSplit(
        name,
        vocab_size=tokenizer.vocab_size,
        bos=tokenizer.bos,
        tokenizer_sha256=tokenizer.sha256,
        n_tokens=sum(map(len, shards)),
        n_bytes=None,
        documents=documents,
        shards=shards,
    )
