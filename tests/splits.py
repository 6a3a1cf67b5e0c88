"""Small splits of random ids, written whole, and their indexes to spoil."""

import hashlib
import json

import numpy as np

from golf.data import shards
from golf.data.shards import Written

BOS = 1


def document(tokens, token_bytes=None):
    """One of these ids, with texts that nobody reads."""
    digests = [hashlib.sha256(f"{kind} {len(tokens)}".encode()).hexdigest() for kind in ("raw", "text", "folded")]
    size = 3 * len(tokens) if token_bytes is None else sum(token_bytes)
    column = None if token_bytes is None else np.array(token_bytes, dtype=np.uint16)
    return Written(*digests, int(size), np.array(tokens, dtype=np.uint16), column)


def documents(lengths, vocabulary=300, sidecar=False):
    dice = np.random.default_rng(0)
    for length in lengths:
        tokens, sizes = dice.integers(2, vocabulary, size=length), dice.integers(0, 9, size=length)
        tokens[0], sizes[0] = BOS, 0
        yield document(tokens, sizes if sidecar else None)


def write(folder, lengths=(5, 40, 7), shard_tokens=16, vocabulary=300, rows=None, sidecar=False):
    return shards.write_split(
        folder,
        "train",
        documents(lengths, sidecar=sidecar) if rows is None else rows,
        vocabulary=vocabulary,
        bos=BOS,
        tokenizer_sha256="ab" * 32,
        shard_tokens=shard_tokens,
    )


def edit(folder, **changes):
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps(index | changes))
