"""The three splits of an export: val as it is, dev off the end of train, train without either.

An export holds tokens, no texts: a text is what the tokens give back, and stands in for the raw one in the index. dev
is the last documents of the train shards that were fetched, dev_percent of their tokens. The last shard is written anew
without them, and so is any that holds a document of val or dev once more (FineWeb repeats itself; but when that is more
than one document for a hundred of val's, train is not what it says it is, #2127). All others are hard links. A last
document that runs on into a shard that was not fetched is in neither split.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data import normalize, split_reader
from golf.data.byte_counts import TokenByteTable
from golf.data.dedup import DocumentIndex, find_duplicates
from golf.data.hub.download import link_or_copy, require_writable
from golf.data.shard_file import write_shard
from golf.data.split_reader import EncodedDocument
from golf.data.splitting import sha256_text
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.errors import InputError
from golf.pipeline.progress import Progress

_MAX_SHARED_FRAC = 0.01  # of val's documents, and one more: if train has more of them, that is no accident


@dataclass(frozen=True)
class HubSplits:
    """dev: ids of each document; train: the documents before them; repeated: numbers of those among these that val or
    dev has as well.
    """

    dev: list[np.ndarray]
    train: DocumentIndex
    duplicate_numbers: np.ndarray


def split_export(
    train: DocumentIndex, val: DocumentIndex, dev_percent: float, has_all_train: bool, workers: int
) -> HubSplits:
    """whole: the last document ends with the last shard. Raises BadInput: dev has no document, or train holds val."""
    n_documents = len(train) - (0 if has_all_train else 1)
    n_tokens = int(train.starts[n_documents])
    first_dev = int(np.searchsorted(train.starts, n_tokens * (1 - dev_percent / 100)))
    if not 0 < first_dev < n_documents:
        raise InputError(
            f"fetch.dev_percent: {dev_percent:g} % of {n_tokens:,} train tokens is no whole document; raise it, or "
            "hub.train_shards"
        )
    dev_candidates = [train.read_document(number) for number in range(first_dev, n_documents)]
    bos = int(dev_candidates[0][0])
    numbers_in_val = set(find_duplicates(DocumentIndex.from_shards(dev_candidates, bos)[0], val).tolist())
    dev = [ids for number, ids in enumerate(dev_candidates) if number not in numbers_in_val]
    if not dev:
        raise InputError(
            f"fetch.dev_percent: {dev_percent:g} % of train is {len(dev_candidates):,} document(s), all in val as well; raise it"
        )
    train_documents = DocumentIndex(train.shards, train.starts[: first_dev + 1])
    held_out, _ = DocumentIndex.from_shards([*val.shards, *dev], bos)
    progress = Progress("fetch", len(train_documents), "documents")
    duplicate_numbers = find_duplicates(
        train_documents, held_out, workers, partial(progress.update, searched_for="repeats")
    )
    progress.finish(
        f"train: {len(duplicate_numbers):,} of {len(train_documents):,} documents are in val or dev as well, and left out"
    )
    _require_disjoint(
        val,
        [
            *map(train_documents.read_document, duplicate_numbers),
            *(dev_candidates[number] for number in numbers_in_val),
        ],
        bos,
    )
    return HubSplits(dev, train_documents, duplicate_numbers)


def _require_disjoint(val: DocumentIndex, duplicates: list[np.ndarray], bos: int) -> None:
    """No more of val's documents are among the repeats than chance puts there. Raises BadInput."""
    n_shared, max_shared = (
        len(find_duplicates(val, DocumentIndex.from_shards(duplicates, bos)[0])),
        int(_MAX_SHARED_FRAC * len(val)) + 1,
    )
    if n_shared > max_shared:
        raise InputError(
            f"hub.repo: {n_shared:,} of val's {len(val):,} documents are in train as well, more than {max_shared:,} is no "
            "accident (#2127); set hub.repo or hub.revision to an export that keeps val out of train"
        )


def write_dev(
    folder, index_header: dict, export_splits: HubSplits, tokenizer, transform: Transform, shard_tokens: int
) -> dict:
    """dev as any split is written; returns its index. about: what every index says of vocabulary and tokenizer."""
    byte_table = TokenByteTable.from_tokenizer(tokenizer)
    documents = (_encode_document(ids, tokenizer, byte_table, transform) for ids in export_splits.dev)
    return split_reader.write_split(folder, "dev", documents, **index_header, shard_tokens=shard_tokens)


def _encode_document(
    ids: np.ndarray, tokenizer: Tokenizer, byte_table: TokenByteTable, transform: Transform
) -> EncodedDocument:
    """A document of these ids as its split holds it."""
    token_bytes = transform.count_piece_bytes and transform.count_piece_bytes(tokenizer.ids_to_bytes(ids))
    n_bytes = byte_table.count_bytes(ids).sum() if token_bytes is None else token_bytes.sum(dtype=np.int64)
    return EncodedDocument(*_text_digests(ids, tokenizer, transform), int(n_bytes), ids, token_bytes)


def _text_digests(ids: np.ndarray, tokenizer: Tokenizer, transform: Transform) -> tuple[str, str, str]:
    """sha256 of raw text, text and text without case; of nothing where the tokens give no text back."""
    text = transform.decode_pieces(tokenizer.ids_to_bytes(ids)) or ""
    return sha256_text(text), sha256_text(text), sha256_text(normalize.casefold(text))


def write_val(
    folder, index_header, files: dict, val: DocumentIndex, token_bytes: np.ndarray, tokenizer, transform
) -> dict:
    """val's own files under our names; returns its index. files: by kind, (path, sha256) of each; sizes: bytes of
    each token.
    """
    rows = []
    document_bytes = np.add.reduceat(token_bytes, val.starts[:-1])
    for number, n_bytes in enumerate(document_bytes.tolist()):
        ids = val.read_document(number)
        values = (*_text_digests(ids, tokenizer, transform), n_bytes, len(ids))
        rows.append(dict(zip(split_reader.DOCUMENT_TYPES, values, strict=True)))
    shard_rows = {}
    for kind, make_name in (("val", split_reader.shard_name), ("sidecar", split_reader.sidecar_name)):
        shard_rows[kind] = []
        for number, ((path, sha256), shard) in enumerate(zip(files[kind], val.shards, strict=False)):
            link_or_copy(path, folder / make_name("val", number))
            shard_rows[kind].append({"file": make_name("val", number), "tokens": len(shard), "sha256": sha256})
    index = (
        {"split": "val"}
        | index_header
        | {"tokens": int(val.starts[-1]), "bytes": int(document_bytes.sum()), "documents": rows}
    )
    index |= {"shards": shard_rows["val"], "sidecar": shard_rows["sidecar"]}
    io.write_json(folder / split_reader.INDEX_FILE, index)
    return index


def write_train(
    folder, shard_dir: Path | None, index_header: dict, files: list, export_splits: HubSplits, other_indexes: dict
) -> dict:
    """train's shards in ``root``, or in ``folder`` without one, and its index in ``folder``; returns the index.

    The index names ``root`` by its last part alone. files: (path, sha256) of each shard; others: the indexes of val and
    dev, of which train holds no document.
    """
    train, target_dir = export_splits.train, shard_dir or folder
    rows = []
    with (
        require_writable(shard_dir.parent) if shard_dir else contextlib.nullcontext(),
        split_reader.replace_together(target_dir) as work,
    ):
        staging_dir = work / target_dir.name
        staging_dir.mkdir()
        hash_cache = HashCache(staging_dir)
        for number, ((path, sha256), keep_mask) in enumerate(zip(files, _iter_keep_masks(export_splits), strict=True)):
            name = split_reader.shard_name("train", number)
            shard = train.shards[number]
            if keep_mask is None:
                link_or_copy(path, staging_dir / name)
            elif keep_mask.any():
                sha256 = write_shard(staging_dir / name, shard[:][keep_mask])
            else:
                continue
            rows.append(
                {"file": name, "tokens": int(len(shard) if keep_mask is None else keep_mask.sum()), "sha256": sha256}
            )
            hash_cache.put(name, sha256)
        if shard_dir:
            hash_cache.save()
    disjoint_from = {name: split_reader.sha256_texts(index["documents"]) for name, index in other_indexes.items()}
    index = (
        {"split": "train"}
        | index_header
        | {"tokens": sum(row["tokens"] for row in rows), "bytes": None, "documents": []}
    )
    index |= {"unlisted": {"documents": len(train) - len(export_splits.duplicate_numbers), "apart_from": disjoint_from}}
    index |= {"shards": rows, "sidecar": []} | ({"root": shard_dir.name} if shard_dir else {})
    io.write_json(folder / split_reader.INDEX_FILE, index)
    return index


def _iter_keep_masks(export_splits: HubSplits) -> Iterator[np.ndarray | None]:
    """For each shard of train, bool [tokens]: what stays of it; None where all does."""
    starts, n_tokens = export_splits.train.starts, sum(map(len, export_splits.train.shards))
    dropped_ranges = [(int(starts[number]), int(starts[number + 1])) for number in export_splits.duplicate_numbers]
    begin = 0
    for shard in export_splits.train.shards:
        end = begin + len(shard)
        shard_ranges = [
            (a - begin, b - begin) for a, b in [*dropped_ranges, (int(starts[-1]), n_tokens)] if a < end and begin < b
        ]
        keep_mask = np.ones(len(shard), dtype=bool) if shard_ranges else None
        for a, b in shard_ranges:
            keep_mask[max(a, 0) : max(b, 0)] = False
        yield keep_mask
        begin = end
