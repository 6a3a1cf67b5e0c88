"""From a source of text to what the other stages read: split documents, a tokenizer, shards, and the manifest."""

import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from golf.data import canonical, folder, shards, split, stdlib, text_bytes, transform
from golf.data import tokenizer as tokenizers
from golf.data.shards import Written
from golf.data.tokenizer import Tokenizer
from golf.data.transform import Transform
from golf.ground import store
from golf.ground.progress import Progress
from golf.ground.sections import Fetch

MODEL, MANIFEST = "tokenizer.model", "manifest.json"
BATCH = 1024  # documents encoded at once


def build(fetch: Fetch, vocabulary: int, out: Path) -> dict:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    vocabulary: the model's; the tokenizer must have as many pieces. Raises BadInput for what the user can mend.
    """
    out = Path(out)
    documents, source = gather(fetch)
    division = split.divide(documents, fetch.val_percent, fetch.dev_percent)
    source |= {"sha256": corpus_digest(division), "empty": division.empty, "duplicates": division.duplicates}
    change = transform.of(fetch.transform)
    tokenizer = make_tokenizer(fetch.tokenizer, vocabulary, division.splits["train"], change, out / MODEL)
    splits = {}
    for name, members in division.splits.items():
        index = shards.write_split(
            out / name,
            name,
            encoded(tokenizer, change, name, members),
            vocabulary=vocabulary,
            bos=tokenizer.bos,
            tokenizer_sha256=tokenizer.sha256,
            shard_tokens=fetch.shard_tokens,
        )
        splits[name] = {
            "documents": len(index["documents"]),
            "tokens": index["tokens"],
            "bytes": index["bytes"],
            "raw_bytes": sum(len(document.text.encode()) for document in members),
            "sha256": store.digest(out / name / shards.INDEX),
        }
    manifest = {
        "source": source,
        "comparable_with_fineweb": False,
        "transform": fetch.transform,
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocabulary": tokenizer.vocabulary,
            "bos": tokenizer.bos,
            "learned_on_train": fetch.tokenizer == tokenizers.LEARNED,
        },
        "percent": {"val": fetch.val_percent, "dev": fetch.dev_percent},
        "splits": splits,
    }
    store.write_json(out / MANIFEST, manifest)
    return manifest


def gather(fetch: Fetch) -> tuple[list[tuple[str, str]], dict]:
    """The documents of ``fetch.source`` and what the manifest says of where they come from."""
    if fetch.source == "stdlib":
        return list(stdlib.documents()), {"kind": "stdlib", "python": platform.python_version()}
    documents, files = folder.documents(Path(fetch.path))
    return documents, {"kind": "files", "path": fetch.path, "files": files}


def make_tokenizer(
    asked: str, vocabulary: int, train: list[split.Document], change: Transform, path: Path
) -> Tokenizer:
    """The tokenizer that ``fetch.tokenizer`` asks for, as a file at ``path``; learned from the train split alone."""
    learned = asked == tokenizers.LEARNED
    if learned:
        texts = (change.apply(canonical.text(document.text)) for document in train)
        model = tokenizers.train(texts, vocabulary, change.symbols)
        tokenizer = Tokenizer(model, "the tokenizer learned on the train split")
    else:
        tokenizer = Tokenizer.open(asked)
    tokenizer.expect_vocabulary(vocabulary, learned=learned)
    tokenizer.expect_symbols(change.symbols)
    store.write_bytes(path, tokenizer.model)
    return tokenizer


def encoded(tokenizer: Tokenizer, change: Transform, name: str, documents: list[split.Document]) -> Iterator[Written]:
    """Every document as its split holds it, its bytes checked against its text; train needs no sidecar."""
    progress, total = Progress("fetch", len(documents), f"{name} documents"), 0
    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        names = [document.name for document in batch]
        texts = [canonical.text(document.text) for document in batch]
        tokens = tokenizer.encode([change.apply(text) for text in texts])
        sidecar = [None] * len(batch)
        if change.carried is None:
            sizes = text_bytes.check(tokenizer, tokens, texts, names)
        else:
            sidecar = transform.token_bytes(change, tokenizer, tokens, texts, names)
            sizes = [carried.sum(dtype=np.int64) for carried in sidecar]
        for document, text, size, ids, carried in zip(batch, texts, sizes, tokens, sidecar, strict=True):
            total += len(ids)
            known = (document.sha256, split.digest(text), split.digest(canonical.folded(text)))
            yield Written(*known, int(size), ids, None if name == "train" else carried)
        if start + BATCH < len(documents):
            progress.update(start + BATCH, tokens=f"{total:,}")
    progress.done(f"{name}: {len(documents):,} documents, {total:,} tokens")


def corpus_digest(division: split.Division) -> str:
    """sha256 over the sha256 of every document, splits and documents in their order: equal only for equal corpora."""
    total = hashlib.sha256()
    for members in division.splits.values():
        total.update("\n".join(document.sha256 for document in members).encode() + b"\n\n")
    return total.hexdigest()


def metrics(manifest: dict) -> dict:
    """What Git and ``dvc metrics`` show of a manifest; no bytes of a split whose bytes were not counted."""
    return {name: figures(row) for name, row in manifest["splits"].items()}


def figures(row: dict) -> dict:
    counted = {} if row["bytes"] is None else {"bytes_per_token": round(row["bytes"] / row["tokens"], 4)}
    return {key: row[key] for key in ("documents", "tokens", "bytes") if row[key] is not None} | counted
