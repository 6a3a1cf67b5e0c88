"""From a source of text to what the other stages read: split documents, a tokenizer, shards, and the manifest."""

import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from golf.artifacts import io
from golf.config.sections import FetchConfig
from golf.data import byte_counts, normalize, split_reader, splitting, transforms
from golf.data import tokenizer as tokenizers
from golf.data.sources import stdlib_docs, text_files
from golf.data.split_reader import EncodedDocument
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.pipeline.progress import Progress

TOKENIZER_FILE, MANIFEST_FILE = "tokenizer.model", "manifest.json"
_BATCH_DOCUMENTS = 1024  # documents encoded at once


def build_dataset(fetch_cfg: FetchConfig, vocab_size: int, out: Path) -> dict:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    vocabulary: the model's; the tokenizer must have as many pieces. Raises BadInput for what the user can mend.
    """
    out = Path(out)
    documents, source = load_documents(fetch_cfg)
    split_result = splitting.split_documents(documents, fetch_cfg.val_percent, fetch_cfg.dev_percent)
    source |= {
        "sha256": sha256_corpus(split_result),
        "empty": split_result.n_empty,
        "duplicates": split_result.n_duplicates,
    }
    transform = transforms.get_transform(fetch_cfg.transform)
    tokenizer = _make_tokenizer(
        fetch_cfg.tokenizer, vocab_size, split_result.splits["train"], transform, out / TOKENIZER_FILE
    )
    splits = {}
    for name, split_documents in split_result.splits.items():
        index = split_reader.write_split(
            out / name,
            name,
            _encode_split(tokenizer, transform, name, split_documents),
            vocab_size=vocab_size,
            bos=tokenizer.bos,
            tokenizer_sha256=tokenizer.sha256,
            shard_tokens=fetch_cfg.shard_tokens,
        )
        splits[name] = {
            "documents": len(index["documents"]),
            "tokens": index["tokens"],
            "bytes": index["bytes"],
            "raw_bytes": sum(len(document.text.encode()) for document in split_documents),
            "sha256": io.sha256_file(out / name / split_reader.INDEX_FILE),
        }
    manifest = {
        "source": source,
        "comparable_with_fineweb": False,
        "transform": fetch_cfg.transform,
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "bos": tokenizer.bos,
            "learned_on_train": fetch_cfg.tokenizer == tokenizers.TRAIN_TOKENIZER,
        },
        "percent": {"val": fetch_cfg.val_percent, "dev": fetch_cfg.dev_percent},
        "splits": splits,
    }
    io.write_json(out / MANIFEST_FILE, manifest)
    return manifest


def load_documents(fetch_cfg: FetchConfig) -> tuple[list[tuple[str, str]], dict]:
    """The documents of ``fetch.source`` and what the manifest says of where they come from."""
    if fetch_cfg.source == "stdlib":
        return list(stdlib_docs.iter_documents()), {"kind": "stdlib", "python": platform.python_version()}
    documents, file_digests = text_files.read_documents(Path(fetch_cfg.path))
    return documents, {"kind": "files", "path": fetch_cfg.path, "files": file_digests}


def _make_tokenizer(
    tokenizer_spec: str, vocab_size: int, train_documents: list[splitting.Document], transform: Transform, path: Path
) -> Tokenizer:
    """The tokenizer that ``fetch.tokenizer`` asks for, as a file at ``path``; learned from the train split alone."""
    is_learned = tokenizer_spec == tokenizers.TRAIN_TOKENIZER
    if is_learned:
        texts = (transform.encode(normalize.normalize(document.text)) for document in train_documents)
        model_bytes = tokenizers.train_model(texts, vocab_size, transform.symbols)
        tokenizer = Tokenizer(model_bytes, "the tokenizer learned on the train split")
    else:
        tokenizer = Tokenizer.open(tokenizer_spec)
    tokenizer.require_vocab_size(vocab_size, is_learned=is_learned)
    tokenizer.require_symbols(transform.symbols)
    io.write_bytes(path, tokenizer.model_bytes)
    return tokenizer


def _encode_split(
    tokenizer: Tokenizer, transform: Transform, split_name: str, documents: list[splitting.Document]
) -> Iterator[EncodedDocument]:
    """Every document as its split holds it, its bytes checked against its text; train needs no sidecar."""
    progress, n_tokens = Progress("fetch", len(documents), f"{split_name} documents"), 0
    for start in range(0, len(documents), _BATCH_DOCUMENTS):
        batch = documents[start : start + _BATCH_DOCUMENTS]
        names = [document.name for document in batch]
        texts = [normalize.normalize(document.text) for document in batch]
        token_ids = tokenizer.encode([transform.encode(text) for text in texts])
        sidecar = [None] * len(batch)
        if transform.count_piece_bytes is None:
            document_bytes = byte_counts.count_and_verify(tokenizer, token_ids, texts, names)
        else:
            sidecar = transforms.count_token_bytes(transform, tokenizer, token_ids, texts, names)
            document_bytes = [token_bytes.sum(dtype=np.int64) for token_bytes in sidecar]
        for document, text, n_bytes, ids, carried in zip(batch, texts, document_bytes, token_ids, sidecar, strict=True):
            n_tokens += len(ids)
            digests = (document.sha256, splitting.sha256_text(text), splitting.sha256_text(normalize.casefold(text)))
            yield EncodedDocument(*digests, int(n_bytes), ids, None if split_name == "train" else carried)
        if start + _BATCH_DOCUMENTS < len(documents):
            progress.update(start + _BATCH_DOCUMENTS, tokens=f"{n_tokens:,}")
    progress.finish(f"{split_name}: {len(documents):,} documents, {n_tokens:,} tokens")


def sha256_corpus(split_result: splitting.SplitResult) -> str:
    """sha256 over the sha256 of every document, splits and documents in their order: equal only for equal corpora."""
    hasher = hashlib.sha256()
    for split_documents in split_result.splits.values():
        hasher.update("\n".join(document.sha256 for document in split_documents).encode() + b"\n\n")
    return hasher.hexdigest()


def summarize_manifest(manifest: dict) -> dict:
    """What Git and ``dvc metrics`` show of a manifest; no bytes of a split whose bytes were not counted."""
    return {name: _split_metrics(row) for name, row in manifest["splits"].items()}


def _split_metrics(row: dict) -> dict:
    bytes_per_token = {} if row["bytes"] is None else {"bytes_per_token": round(row["bytes"] / row["tokens"], 4)}
    return {key: row[key] for key in ("documents", "tokens", "bytes") if row[key] is not None} | bytes_per_token
