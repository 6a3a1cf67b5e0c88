"""Build the data set from a corpus of texts: split documents, a tokenizer, token shards, and the manifest."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io, json_records
from golf.config.sections import FetchConfig
from golf.data import byte_counts, held_out, overlap, splitting, transforms
from golf.data import tokenizer as tokenizers
from golf.data.contamination import measure_contamination
from golf.data.overlap import Range
from golf.data.sources import package_docs, stdlib_docs, text_files
from golf.data.sources.interface import Corpus, Source
from golf.data.split_reader import INDEX_FILE
from golf.data.split_writer import EncodedDocument, write_split
from golf.data.tokenization import trainer
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.pipeline.progress import Progress, call_repeatedly, format_count, log_line

__all__ = [
    "MANIFEST_FILE",
    "TOKENIZER_FILE",
    "build_dataset",
    "read_corpus",
    "sha256_corpus",
    "summarize_manifest",
    "summarize_tokenizer",
]

TOKENIZER_FILE, MANIFEST_FILE = "tokenizer.model", "manifest.json"
_SOURCES: dict[str, Source] = {"docs": package_docs, "stdlib": stdlib_docs, "files": text_files}  # by fetch.source
_BATCH_DOCUMENTS, _BATCH_BYTES = 1024, 1 << 24  # encoded at once


def build_dataset(fetch_cfg: FetchConfig, vocab_size: int, out: Path) -> dict[str, Any]:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    vocab_size: the model's, which the tokenizer must have. Raises InputError naming the key or file to correct.
    """
    transform = transforms.get_transform(fetch_cfg.transform)
    tokenizer = _open_tokenizer(fetch_cfg, vocab_size, transform)  # before the texts, which take longer
    corpus = read_corpus(fetch_cfg)
    split_result = splitting.split_documents(corpus.documents, fetch_cfg.val_percent, fetch_cfg.dev_percent)
    split_result, n_repeated = held_out.keep_sections_once(split_result)
    left_out: dict[str, held_out.HeldOutCounts] = {}
    if fetch_cfg.held_out == "strict":
        split_result, left_out = held_out.remove_shared_paragraphs(split_result)
    covered = _find_covered_ranges(split_result) if fetch_cfg.contamination else None
    tokenizer = tokenizer or _train_tokenizer(fetch_cfg, vocab_size, split_result.splits["train"], transform)
    io.write_bytes(out / TOKENIZER_FILE, tokenizer.model_bytes)
    splits = {}
    for name, documents in split_result.splits.items():
        index = write_split(
            out / name,
            name,
            _encode_split(tokenizer, transform, name, documents, covered),
            vocab_size=vocab_size,
            bos=tokenizer.bos,
            tokenizer_sha256=tokenizer.sha256,
            shard_tokens=fetch_cfg.shard_tokens,
        )
        splits[name] = {
            "documents": len(index["documents"]),
            "tokens": index["tokens"],
            "bytes": index["bytes"],
            "raw_bytes": sum(len(document.text_utf8) for document in documents),
            "contamination": measure_contamination(index["documents"]),
            "sha256": io.sha256_file(out / name / INDEX_FILE),
        }
    manifest = {
        "source": {
            "kind": fetch_cfg.source,
            **corpus.provenance,
            "sha256": sha256_corpus(split_result),
            "n_empty": split_result.n_empty,
            "n_duplicates": split_result.n_duplicates,
            "n_repeated_sections": n_repeated,
        },
        "held_out": {
            "rule": fetch_cfg.held_out,
            "left_out": {name: counts.to_dict() for name, counts in left_out.items()},
            "documents": {name: [document.name for document in split_result.splits[name]] for name in ("dev", "val")},
        },
        "comparable_with_fineweb": False,
        "transform": fetch_cfg.transform,
        "tokenizer": summarize_tokenizer(tokenizer, trained=fetch_cfg.tokenizer == tokenizers.TRAIN_TOKENIZER),
        "percent": {"val": fetch_cfg.val_percent, "dev": fetch_cfg.dev_percent},
        "splits": splits,
    }
    json_records.write_sealed(out / MANIFEST_FILE, manifest)
    n_empty, n_duplicates = split_result.n_empty, split_result.n_duplicates
    left_out_counts = f"{format_count(n_empty, 'empty document')}, {format_count(n_duplicates, 'duplicate')}"
    log_line("fetch", f"left out: {left_out_counts}")
    return manifest


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """Return the corpus that fetch.source names."""
    return _SOURCES[fetch_cfg.source].read_corpus(fetch_cfg)


def _open_tokenizer(fetch_cfg: FetchConfig, vocab_size: int, transform: Transform) -> Tokenizer | None:
    """The tokenizer at the path fetch.tokenizer; None where one is to be trained."""
    if fetch_cfg.tokenizer == tokenizers.TRAIN_TOKENIZER:
        return None
    tokenizer = Tokenizer.open(fetch_cfg.tokenizer)
    tokenizer.require_vocab_size(vocab_size)
    tokenizer.require_symbols(transform.symbols)
    tokenizer.require_text_unchanged()
    return tokenizer


def _train_tokenizer(
    fetch_cfg: FetchConfig, vocab_size: int, train_documents: list[splitting.Document], transform: Transform
) -> Tokenizer:
    """A tokenizer trained on the train split alone."""
    n_bytes = sum(len(document.normalized_utf8) for document in train_documents)
    sampled_frac = min(1.0, trainer.MAX_TRAINING_BYTES / max(1, n_bytes))
    read = f"{sampled_frac * n_bytes / 1e6:,.1f} of {n_bytes / 1e6:,.1f} MB"
    progress = Progress("fetch", None, "pieces")
    texts = (transform.encode(document.normalized) for document in train_documents)
    with call_repeatedly(lambda: progress.update(vocab_size, training_on=read)):
        model_bytes = trainer.train_tokenizer(
            texts, vocab_size, transform.symbols, fetch_cfg.character_coverage, sampled_frac
        )
    tokenizer = Tokenizer(model_bytes, "the tokenizer trained on the train split")
    tokenizer.require_vocab_size(vocab_size, is_trained=True)
    progress.finish(f"tokenizer: {vocab_size:,} pieces, trained on {read} of train")
    return tokenizer


def _find_covered_ranges(split_result: splitting.SplitResult) -> dict[str | None, list[Range]]:
    """By split_key, of each document of dev and val the ranges of its bytes that occur in train."""
    train, documents = split_result.splits["train"], [*split_result.splits["dev"], *split_result.splits["val"]]
    progress = Progress("fetch", len(train), "documents of train searched for dev and val")
    texts = [document.normalized_utf8 for document in documents]
    ranges = overlap.find_covered_ranges(texts, held_out.iter_texts(train, progress))
    covered_frac = sum(stop - start for rows in ranges for start, stop in rows) / sum(map(len, texts))
    progress.finish(f"{covered_frac:.2%} of the bytes of dev and val occur in train")
    return {document.split_key: rows for document, rows in zip(documents, ranges, strict=True)}


def _encode_split(
    tokenizer: Tokenizer,
    transform: Transform,
    split_name: str,
    documents: list[splitting.Document],
    covered: dict[str | None, list[Range]] | None,
) -> Iterator[EncodedDocument]:
    """Encode every document and verify its bytes against its text. train gets no sidecar, as it is never scored."""
    progress = Progress("fetch", len(documents), f"{split_name} documents")
    n_documents = n_tokens = n_done = 0
    n_chars = sum(len(document.normalized) for document in documents)
    for batch in _iter_batches(documents):
        names = [document.name for document in batch]
        texts = [document.normalized for document in batch]
        report = functools.partial(_report_encoding, progress, n_documents, n_done, n_chars)
        token_ids = tokenizer.encode([transform.encode(text) for text in texts], report)
        n_documents, n_done = n_documents + len(batch), n_done + sum(map(len, texts))
        if transform.count_piece_bytes is None:
            sidecar: list[np.ndarray | None] = [None] * len(batch)
            document_bytes = byte_counts.count_and_verify(tokenizer, token_ids, texts, names).tolist()
        else:
            token_bytes = transforms.count_token_bytes(transform, tokenizer, token_ids, texts, names)
            sidecar = [None if split_name == "train" else counts for counts in token_bytes]
            document_bytes = [int(counts.sum(dtype=np.int64)) for counts in token_bytes]
        n_tokens += sum(map(len, token_ids))
        text_digests = [(splitting.sha256_text(text), splitting.sha256_casefolded_text(text)) for text in texts]
        del texts  # the memory is needed to write
        for document, digests, n_bytes, ids, counts in zip(
            batch, text_digests, document_bytes, token_ids, sidecar, strict=True
        ):
            ranges = covered.get(document.split_key) if covered else None
            yield EncodedDocument(document.sha256, *digests, n_bytes, ids, counts, ranges)
    progress.finish(f"{split_name}: {format_count(len(documents), 'document')}, {format_count(n_tokens, 'token')}")


def _iter_batches(documents: list[splitting.Document]) -> Iterator[list[splitting.Document]]:
    """The documents in groups of _BATCH_DOCUMENTS, or fewer whose text reaches _BATCH_BYTES."""
    batch, n_bytes = list[splitting.Document](), 0
    for document in documents:
        batch.append(document)
        n_bytes += len(document.normalized_utf8)
        if len(batch) == _BATCH_DOCUMENTS or n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _report_encoding(progress: Progress, n_documents: int, n_before: int, n_all: int, n_encoded: int) -> None:
    """Show the share of a split's ``n_all`` characters that is encoded; documents may be very long."""
    fraction = min(1.0, (n_before + n_encoded) / n_all)
    progress.update(n_documents, fraction=fraction, encoded=f"{fraction:.0%}")


def sha256_corpus(split_result: splitting.SplitResult) -> str:
    """Return the sha256 over the sha256 of every document, by split and in order: equal only for equal corpora."""
    hasher = hashlib.sha256()
    for documents in split_result.splits.values():
        hasher.update("\n".join(document.sha256 for document in documents).encode() + b"\n\n")
    return hasher.hexdigest()


def summarize_tokenizer(tokenizer: Tokenizer, *, trained: bool) -> dict[str, Any]:
    """Return the manifest's entry for the tokenizer. trained: on the train split, in this run."""
    return {
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "bos": tokenizer.bos,
        "trained_on_train_split": trained,
    }


def summarize_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return fetch's metrics.json: documents, tokens, bytes and bytes per token of each split.

    Bytes are left out where they are unknown.
    """
    return {name: _split_metrics(row) for name, row in manifest["splits"].items()}


def _split_metrics(row: dict[str, Any]) -> dict[str, Any]:
    bytes_per_token = {} if row["bytes"] is None else {"bytes_per_token": round(row["bytes"] / row["tokens"], 4)}
    return {key: row[key] for key in ("documents", "tokens", "bytes") if row[key] is not None} | bytes_per_token
