"""Splits written anew: other documents in them, or other bytes charged to their tokens, in an index that agrees."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from gallery.case import VAL
from golf.data import shards
from golf.data.shards import Split, Written
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.ground import store

TOKENIZER, MANIFEST = "artifacts/fetch/tokenizer.model", "artifacts/fetch/manifest.json"


def documents(split: Split) -> list[Written]:
    """A split's documents as they were written, without a sidecar."""
    parts = np.split(split.all(), split.starts()[1:])
    texts = [{key: row[key] for key in ("sha256", "text", "text_folded", "bytes")} for row in split.documents]
    return [Written(**text, tokens=tokens) for text, tokens in zip(texts, parts, strict=True)]


def write(split: Split, made: Iterable[Written]) -> dict:
    """Put these documents into the split's place; returns its index."""
    folder = Path("artifacts/fetch") / split.name
    kept = {"vocabulary": split.vocabulary, "bos": split.bos, "tokenizer_sha256": split.tokenizer_sha256}
    return shards.write_split(folder, split.name, made, **kept, shard_tokens=4000)


def charge(rule: Callable[[np.ndarray, ByteTable], np.ndarray]) -> None:
    """Charge val's tokens by a rule of one's own: of ids [n] and the honest table the bytes [n]; BOS gets none."""
    table = ByteTable.of(Tokenizer.open(TOKENIZER))
    put(charged(document, rule(document.tokens, table)) for document in documents(shards.open_split(VAL)))


def put(made: Iterable[Written]) -> None:
    """Put these documents into val's place, and tell the manifest."""
    index = write(shards.open_split(VAL), made)
    manifest = store.read_json(MANIFEST)
    digest = store.digest(Path(VAL) / shards.INDEX)
    manifest["splits"]["val"] |= {"bytes": index["bytes"], "sha256": digest}
    store.write_json(MANIFEST, manifest)


def charged(document: Written, sizes: np.ndarray) -> Written:
    sizes = np.append(0, sizes[1:]).astype(np.uint16)
    return dataclasses.replace(document, bytes=int(sizes.sum()), token_bytes=sizes)
