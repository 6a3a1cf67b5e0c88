"""Build the data set from a corpus of texts: split documents, a tokenizer, token shards, and the manifest."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.config.sections import FetchConfig
from golf.data import byte_counts, normalize, splitting, transforms
from golf.data import tokenizer as tokenizers
from golf.data.sources import stdlib_docs, text_files
from golf.data.sources.interface import Corpus, Source
from golf.data.split_reader import INDEX_FILE
from golf.data.split_writer import EncodedDocument, write_split
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.pipeline.progress import Progress

__all__ = [
    "MANIFEST_FILE",
    "SOURCES",
    "TOKENIZER_FILE",
    "build_dataset",
    "read_corpus",
    "sha256_corpus",
    "summarize_manifest",
    "summarize_tokenizer",
]

TOKENIZER_FILE, MANIFEST_FILE = "tokenizer.model", "manifest.json"
SOURCES: dict[str, Source] = {"stdlib": stdlib_docs, "files": text_files}  # by fetch.source
_BATCH_DOCUMENTS = 1024  # documents encoded at once


def build_dataset(fetch_cfg: FetchConfig, vocab_size: int, out: Path) -> dict[str, Any]:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    vocab_size: the model's, which the tokenizer must have. Raises InputError naming the key or file to correct.
    """
    corpus = read_corpus(fetch_cfg)
    split_result = splitting.split_documents(corpus.documents, fetch_cfg.val_percent, fetch_cfg.dev_percent)
    transform = transforms.get_transform(fetch_cfg.transform)
    tokenizer = _make_tokenizer(
        fetch_cfg.tokenizer, vocab_size, split_result.splits["train"], transform, out / TOKENIZER_FILE
    )
    splits = {}
    for name, documents in split_result.splits.items():
        index = write_split(
            out / name,
            name,
            _encode_split(tokenizer, transform, name, documents),
            vocab_size=vocab_size,
            bos=tokenizer.bos,
            tokenizer_sha256=tokenizer.sha256,
            shard_tokens=fetch_cfg.shard_tokens,
        )
        splits[name] = {
            "documents": len(index["documents"]),
            "tokens": index["tokens"],
            "bytes": index["bytes"],
            "raw_bytes": sum(len(document.text.encode()) for document in documents),
            "sha256": io.sha256_file(out / name / INDEX_FILE),
        }
    manifest = {
        "source": {
            "kind": fetch_cfg.source,
            **corpus.provenance,
            "sha256": sha256_corpus(split_result),
            "n_empty": split_result.n_empty,
            "n_duplicates": split_result.n_duplicates,
        },
        "comparable_with_fineweb": False,
        "transform": fetch_cfg.transform,
        "tokenizer": summarize_tokenizer(tokenizer, trained=fetch_cfg.tokenizer == tokenizers.TRAIN_TOKENIZER),
        "percent": {"val": fetch_cfg.val_percent, "dev": fetch_cfg.dev_percent},
        "splits": splits,
    }
    io.write_json(out / MANIFEST_FILE, manifest)
    return manifest


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """The corpus that fetch.source names."""
    return SOURCES[fetch_cfg.source].read_corpus(fetch_cfg)


def _make_tokenizer(
    tokenizer_spec: str, vocab_size: int, train_documents: list[splitting.Document], transform: Transform, path: Path
) -> Tokenizer:
    """The tokenizer that fetch.tokenizer asks for, written to ``path``. Training sees the train split alone."""
    is_trained = tokenizer_spec == tokenizers.TRAIN_TOKENIZER
    if is_trained:
        texts = (transform.encode(normalize.normalize(document.text)) for document in train_documents)
        model_bytes = tokenizers.train_tokenizer(texts, vocab_size, transform.symbols)
        tokenizer = Tokenizer(model_bytes, "the tokenizer trained on the train split")
    else:
        tokenizer = Tokenizer.open(tokenizer_spec)
    tokenizer.require_vocab_size(vocab_size, is_trained=is_trained)
    tokenizer.require_symbols(transform.symbols)
    io.write_bytes(path, tokenizer.model_bytes)
    return tokenizer


def _encode_split(
    tokenizer: Tokenizer, transform: Transform, split_name: str, documents: list[splitting.Document]
) -> Iterator[EncodedDocument]:
    """Encode every document and verify its bytes against its text. train gets no sidecar, as it is never scored."""
    progress, n_tokens = Progress("fetch", len(documents), f"{split_name} documents"), 0
    for start in range(0, len(documents), _BATCH_DOCUMENTS):
        batch = documents[start : start + _BATCH_DOCUMENTS]
        names = [document.name for document in batch]
        texts = [normalize.normalize(document.text) for document in batch]
        token_ids = tokenizer.encode([transform.encode(text) for text in texts])
        if transform.count_piece_bytes is None:
            sidecar: list[np.ndarray | None] = [None] * len(batch)
            document_bytes = byte_counts.count_and_verify(tokenizer, token_ids, texts, names).tolist()
        else:
            token_bytes = transforms.count_token_bytes(transform, tokenizer, token_ids, texts, names)
            sidecar = [None if split_name == "train" else counts for counts in token_bytes]
            document_bytes = [int(counts.sum(dtype=np.int64)) for counts in token_bytes]
        for document, text, n_bytes, ids, counts in zip(batch, texts, document_bytes, token_ids, sidecar, strict=True):
            n_tokens += len(ids)
            digests = (document.sha256, splitting.sha256_text(text), splitting.sha256_text(normalize.casefold(text)))
            yield EncodedDocument(*digests, n_bytes, ids, counts)
        if start + _BATCH_DOCUMENTS < len(documents):
            progress.update(start + _BATCH_DOCUMENTS, tokens=f"{n_tokens:,}")
    progress.finish(f"{split_name}: {len(documents):,} documents, {n_tokens:,} tokens")


def sha256_corpus(split_result: splitting.SplitResult) -> str:
    """sha256 over the sha256 of every document, by split and in order: equal only for equal corpora."""
    hasher = hashlib.sha256()
    for documents in split_result.splits.values():
        hasher.update("\n".join(document.sha256 for document in documents).encode() + b"\n\n")
    return hasher.hexdigest()


def summarize_tokenizer(tokenizer: Tokenizer, *, trained: bool) -> dict[str, Any]:
    """The manifest's entry for the tokenizer. trained: on the train split, in this run."""
    return {
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "bos": tokenizer.bos,
        "trained_on_train_split": trained,
    }


def summarize_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """metrics.json of fetch: documents, tokens, bytes and bytes per token of each split; no bytes where unknown."""
    return {name: _split_metrics(row) for name, row in manifest["splits"].items()}


def _split_metrics(row: dict[str, Any]) -> dict[str, Any]:
    bytes_per_token = {} if row["bytes"] is None else {"bytes_per_token": round(row["bytes"] / row["tokens"], 4)}
    return {key: row[key] for key in ("documents", "tokens", "bytes") if row[key] is not None} | bytes_per_token
