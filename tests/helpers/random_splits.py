"""Small splits of random ids, written whole, and their indexes to spoil."""

import hashlib
import json

import numpy as np

from golf.data import split_reader
from golf.data.split_reader import EncodedDocument

BOS = 1


def encoded_document(tokens, token_bytes=None):
    """One of these ids, with texts that nobody reads."""
    digests = [hashlib.sha256(f"{kind} {len(tokens)}".encode()).hexdigest() for kind in ("raw", "text", "folded")]
    n_bytes = 3 * len(tokens) if token_bytes is None else sum(token_bytes)
    byte_counts = None if token_bytes is None else np.array(token_bytes, dtype=np.uint16)
    return EncodedDocument(*digests, int(n_bytes), np.array(tokens, dtype=np.uint16), byte_counts)


def random_documents(lengths, vocab_size=300, sidecar=False):
    rng = np.random.default_rng(0)
    for length in lengths:
        tokens, sizes = rng.integers(2, vocab_size, size=length), rng.integers(0, 9, size=length)
        tokens[0], sizes[0] = BOS, 0
        yield encoded_document(tokens, sizes if sidecar else None)


def write_train_split(folder, lengths=(5, 40, 7), shard_tokens=16, vocab_size=300, documents=None, sidecar=False):
    return split_reader.write_split(
        folder,
        "train",
        random_documents(lengths, sidecar=sidecar) if documents is None else documents,
        vocab_size=vocab_size,
        bos=BOS,
        tokenizer_sha256="ab" * 32,
        shard_tokens=shard_tokens,
    )


def edit_index(folder, **changes):
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps(index | changes))
