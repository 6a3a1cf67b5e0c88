"""The three splits of an export: val unchanged, dev cut off the end of train, train without documents of either.

An export holds tokens, not texts; the decoded tokens stand in for the text in the index. dev is the last documents of
the fetched train shards, dev_percent of their tokens. The last shard is rewritten without them, and so is any shard
with a document that is also in val or dev; all other shards are hard links. FineWeb repeats itself, but if train holds
more than one in a hundred of val's documents, the export is rejected as contaminated (#2127). A last document that
continues in a shard that was not fetched is in neither split.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data.byte_counts import TokenByteTable
from golf.data.hub.dedup import DocumentIndex, find_duplicates
from golf.data.hub.download import link_or_copy, translate_write_errors
from golf.data.overlap import Range
from golf.data.shard_file import write_shard
from golf.data.split_reader import INDEX_FILE, sha256_texts
from golf.data.split_writer import EncodedDocument, make_shard_name, make_sidecar_name, write_split
from golf.data.splitting import sha256_casefolded_text, sha256_text
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.errors import InputError
from golf.pipeline.progress import Progress

__all__ = ["HashedFile", "HubSplits", "make_byte_counter", "split_export", "write_dev", "write_train", "write_val"]

_MAX_SHARED_FRAC = 0.01  # of val's documents (plus one document) may be in train before the export is rejected

HashedFile = tuple[Path, str]  # a downloaded file and its sha256


@dataclass(frozen=True)
class HubSplits:
    """How an export's train documents are divided.

    dev: ids of each document of dev. train: the documents before dev. duplicate_numbers: int64, the numbers of those
    train documents that are also in val or dev and are left out.
    """

    dev: list[np.ndarray]
    train: DocumentIndex
    duplicate_numbers: np.ndarray


def split_export(
    train: DocumentIndex, val: DocumentIndex, dev_percent: float, has_all_train: bool, workers: int
) -> HubSplits:
    """Cut dev off the end of train and find the documents of train that are also in val or dev.

    has_all_train: the last document is complete. Raises InputError when dev gets no document, or train holds val.
    """
    n_documents = len(train) - (0 if has_all_train else 1)
    n_tokens = int(train.starts[n_documents])
    first_dev = int(np.searchsorted(train.starts, n_tokens * (1 - dev_percent / 100)))
    if not 0 < first_dev < n_documents:
        raise InputError(
            f"fetch.dev_percent: {dev_percent:g} % of {n_tokens:,} train tokens is not a whole document; raise it, or "
            "hub.train_shards"
        )
    dev_candidates = [train.read_document(number) for number in range(first_dev, n_documents)]
    bos = int(dev_candidates[0][0])
    numbers_in_val = set(find_duplicates(DocumentIndex.from_shards(dev_candidates, bos)[0], val).tolist())
    dev = [ids for number, ids in enumerate(dev_candidates) if number not in numbers_in_val]
    if not dev:
        raise InputError(
            f"fetch.dev_percent: {dev_percent:g} % of train is {len(dev_candidates):,} document(s), all of them in val "
            "as well; raise it"
        )
    train_documents = DocumentIndex(train.shards, train.starts[: first_dev + 1])
    held_out, _ = DocumentIndex.from_shards([*val.shards, *dev], bos)
    progress = Progress("fetch", len(train_documents), "documents")
    on_progress = partial(progress.update, searching_for="duplicates")
    duplicate_numbers = find_duplicates(train_documents, held_out, workers, on_progress)
    progress.finish(
        f"train: {len(duplicate_numbers):,} of {len(train_documents):,} documents are also in val or dev and left out"
    )
    duplicates = [train_documents.read_document(number) for number in duplicate_numbers.tolist()]
    _require_few_shared(val, [*duplicates, *(dev_candidates[number] for number in numbers_in_val)], bos)
    return HubSplits(dev, train_documents, duplicate_numbers)


def _require_few_shared(val: DocumentIndex, duplicates: list[np.ndarray], bos: int) -> None:
    """Raises InputError when train holds more of val's documents than chance explains."""
    n_shared = len(find_duplicates(val, DocumentIndex.from_shards(duplicates, bos)[0]))
    max_shared = int(_MAX_SHARED_FRAC * len(val)) + 1
    if n_shared > max_shared:
        raise InputError(
            f"hub.repo: {n_shared:,} of val's {len(val):,} documents are also in train, at most {max_shared:,} can be "
            "chance (#2127); set hub.repo or hub.revision to an export that keeps val out of train"
        )


def write_dev(
    folder: Path,
    index_header: dict[str, Any],
    export_splits: HubSplits,
    covered: Sequence[Sequence[Range]] | None,
    tokenizer: Tokenizer,
    transform: Transform,
    shard_tokens: int,
) -> dict[str, Any]:
    """Write dev as a new split; returns its index.

    index_header: vocab_size, bos and tokenizer_sha256. covered: of each document, as in EncodedDocument, or None.
    """
    count_bytes = make_byte_counter(tokenizer, transform)
    has_sidecar = transform.count_piece_bytes is not None

    def encode_document(ids: np.ndarray, ranges: Sequence[Range] | None) -> EncodedDocument:
        token_bytes = count_bytes(ids)
        sidecar = token_bytes.astype(np.uint16) if has_sidecar else None
        return EncodedDocument(
            *_hash_text(ids, tokenizer, transform), int(token_bytes.sum()), ids, sidecar, covered=ranges
        )

    documents = map(encode_document, export_splits.dev, covered or itertools.repeat(None))
    return write_split(folder, "dev", documents, **index_header, shard_tokens=shard_tokens)


def make_byte_counter(tokenizer: Tokenizer, transform: Transform) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from a document's ids to the bytes of text of each, int64 [tokens].

    The ids are uint16 [tokens], BOS first.
    """
    count_piece_bytes = transform.count_piece_bytes
    if count_piece_bytes is not None:
        return lambda ids: count_piece_bytes(tokenizer.ids_to_bytes(ids)).astype(np.int64)
    byte_table = TokenByteTable.from_tokenizer(tokenizer)
    return lambda ids: np.append(0, byte_table.count_bytes(ids))


def _hash_text(ids: np.ndarray, tokenizer: Tokenizer, transform: Transform) -> tuple[str, str, str]:
    """sha256 of raw text, normalized text and casefolded text; those of "" when the ids do not decode."""
    text = transform.decode_pieces(tokenizer.ids_to_bytes(ids)) or ""
    return sha256_text(text), sha256_text(text), sha256_casefolded_text(text)


def write_val(
    folder: Path,
    index_header: dict[str, Any],
    files: dict[str, list[HashedFile]],
    val: DocumentIndex,
    token_bytes: np.ndarray,
    covered: Sequence[Sequence[Range]] | None,
    tokenizer: Tokenizer,
    transform: Transform,
) -> dict[str, Any]:
    """Link val's files under the split's names and write its index; returns the index.

    files: by kind. token_bytes: int64 [tokens] of val. covered: of each document, as in EncodedDocument, or None.
    """
    rows = []
    document_bytes = np.add.reduceat(token_bytes, val.starts[:-1])
    for number, n_bytes in enumerate(document_bytes.tolist()):
        ids = val.read_document(number)
        digests = _hash_text(ids, tokenizer, transform)
        ranges = covered[number] if covered else None
        rows.append(EncodedDocument(*digests, n_bytes, ids, covered=ranges).to_index_row())
    shard_rows: dict[str, list[dict[str, Any]]] = {}
    for kind, make_name in (("val", make_shard_name), ("sidecar", make_sidecar_name)):
        shard_rows[kind] = []
        for number, ((path, sha256), shard) in enumerate(zip(files[kind], val.shards, strict=False)):
            link_or_copy(path, folder / make_name("val", number))
            shard_rows[kind].append({"file": make_name("val", number), "tokens": len(shard), "sha256": sha256})
    index = {
        "split": "val",
        **index_header,
        "tokens": int(val.starts[-1]),
        "bytes": int(document_bytes.sum()),
        "documents": rows,
        "shards": shard_rows["val"],
        "sidecar": shard_rows["sidecar"],
    }
    io.write_json(folder / INDEX_FILE, index)
    return index


def write_train(
    folder: Path,
    shard_dir: Path | None,
    index_header: dict[str, Any],
    files: list[HashedFile],
    export_splits: HubSplits,
    other_indexes: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Write train's shards into ``shard_dir``, or into ``folder`` if it is None, and its index into ``folder``.

    The index holds only the name of ``shard_dir``. files: the shards of train. other_indexes: the indexes of val and
    dev, with which train has no document in common. Returns the index.
    """
    train, target_dir = export_splits.train, shard_dir or folder
    rows: list[dict[str, Any]] = []
    with (
        translate_write_errors(shard_dir.parent) if shard_dir else contextlib.nullcontext(),
        io.replace_together(target_dir) as work_dir,
    ):
        staging_dir = work_dir / target_dir.name
        staging_dir.mkdir()
        hash_cache = HashCache(staging_dir)
        masked_shards = zip(files, train.shards, _iter_keep_masks(export_splits), strict=True)
        for number, ((path, sha256), shard, keep_mask) in enumerate(masked_shards):
            name, n_tokens = make_shard_name("train", number), len(shard)
            if keep_mask is None:
                link_or_copy(path, staging_dir / name)
            elif n_tokens := int(keep_mask.sum()):
                sha256 = write_shard(staging_dir / name, shard[:][keep_mask])
            else:
                continue
            rows.append({"file": name, "tokens": n_tokens, "sha256": sha256})
            hash_cache.put(name, sha256)
        if shard_dir:
            hash_cache.save()
    disjoint_from = {name: sha256_texts(index["documents"]) for name, index in other_indexes.items()}
    n_documents = len(train) - len(export_splits.duplicate_numbers)
    index = {
        "split": "train",
        **index_header,
        "tokens": sum(row["tokens"] for row in rows),
        "bytes": None,
        "documents": [],
        "summarized": {"documents": n_documents, "disjoint_from": disjoint_from},
        "shards": rows,
        "sidecar": [],
    }
    if shard_dir:
        index["root"] = shard_dir.name
    io.write_json(folder / INDEX_FILE, index)
    return index


def _iter_keep_masks(export_splits: HubSplits) -> Iterator[np.ndarray | None]:
    """For each shard of train: bool [tokens], which tokens stay; None when all do."""
    starts, n_tokens = export_splits.train.starts, sum(map(len, export_splits.train.shards))
    dropped = [(int(starts[number]), int(starts[number + 1])) for number in export_splits.duplicate_numbers]
    dropped.append((int(starts[-1]), n_tokens))  # dev, and an incomplete last document
    begin = 0
    for shard in export_splits.train.shards:
        end = begin + len(shard)
        overlaps = [(start - begin, stop - begin) for start, stop in dropped if start < end and begin < stop]
        keep_mask = np.ones(len(shard), dtype=bool)
        for start, stop in overlaps:
            keep_mask[max(start, 0) : max(stop, 0)] = False
        yield keep_mask if overlaps else None
        begin = end
