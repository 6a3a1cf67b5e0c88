"""Small splits of random ids, and a function that edits their index."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from golf.data.split_writer import EncodedDocument, write_split

BOS = 1


def encoded_document(tokens: Iterable[int], token_bytes: Iterable[int] | None = None) -> EncodedDocument:
    """A document of these ids, with made-up digests."""
    ids = np.array(list(tokens), dtype=np.uint16)
    counts = None if token_bytes is None else np.array(list(token_bytes), dtype=np.uint16)
    digests = [hashlib.sha256(f"{kind} {len(ids)}".encode()).hexdigest() for kind in ("raw", "text", "casefolded")]
    n_bytes = 3 * len(ids) if counts is None else int(counts.sum())
    return EncodedDocument(*digests, n_bytes, ids, counts)


def random_documents(lengths: Iterable[int], vocab_size: int = 300, sidecar: bool = False) -> Iterator[EncodedDocument]:
    rng = np.random.default_rng(0)
    for length in lengths:
        tokens, byte_counts = rng.integers(2, vocab_size, size=length), rng.integers(0, 9, size=length)
        tokens[0], byte_counts[0] = BOS, 0
        yield encoded_document(tokens, byte_counts if sidecar else None)


def write_train_split(
    folder: Path,
    lengths: Iterable[int] = (5, 40, 7),
    shard_tokens: int = 16,
    vocab_size: int = 300,
    documents: Iterable[EncodedDocument] | None = None,
    sidecar: bool = False,
) -> dict[str, Any]:
    return write_split(
        folder,
        "train",
        random_documents(lengths, sidecar=sidecar) if documents is None else documents,
        vocab_size=vocab_size,
        bos=BOS,
        tokenizer_sha256="ab" * 32,
        shard_tokens=shard_tokens,
    )


def edit_index(folder: Path, **changes: object) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps(index | changes))
