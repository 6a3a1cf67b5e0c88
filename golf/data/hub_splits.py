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

from golf.data import canonical, shards
from golf.data.hashes import Hashes
from golf.data.hub_folder import link, writable
from golf.data.shard import write_shard
from golf.data.shards import Written
from golf.data.split import digest
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.data.transform import Transform
from golf.data.twins import Documents, twins
from golf.ground import store
from golf.ground.errors import BadInput
from golf.ground.progress import Progress

SHARED = 0.01  # of val's documents, and one more: if train has more of them, that is no accident


@dataclass(frozen=True)
class Division:
    """dev: ids of each document; train: the documents before them; repeated: numbers of those among these that val or
    dev has as well.
    """

    dev: list[np.ndarray]
    train: Documents
    repeated: np.ndarray


def divide(train: Documents, val: Documents, dev_percent: float, whole: bool, workers: int) -> Division:
    """whole: the last document ends with the last shard. Raises BadInput: dev has no document, or train holds val."""
    last = len(train) - (0 if whole else 1)
    end = int(train.starts[last])
    first = int(np.searchsorted(train.starts, end * (1 - dev_percent / 100)))
    if not 0 < first < last:
        raise BadInput(
            f"fetch.dev_percent: {dev_percent:g} % of {end:,} train tokens is no whole document; raise it, or "
            "hub.train_shards"
        )
    held = [train.ids(number) for number in range(first, last)]
    bos = int(held[0][0])
    known = set(twins(Documents.of(held, bos)[0], val).tolist())
    dev = [ids for number, ids in enumerate(held) if number not in known]
    if not dev:
        raise BadInput(
            f"fetch.dev_percent: {dev_percent:g} % of train is {len(held):,} document(s), all in val as well; raise it"
        )
    head = Documents(train.shards, train.starts[: first + 1])
    both, _ = Documents.of([*val.shards, *dev], bos)
    progress = Progress("fetch", len(head), "documents")
    repeated = twins(head, both, workers, partial(progress.update, searched_for="repeats"))
    progress.done(f"train: {len(repeated):,} of {len(head):,} documents are in val or dev as well, and left out")
    demand_apart(val, [*map(head.ids, repeated), *(held[number] for number in known)], bos)
    return Division(dev, head, repeated)


def demand_apart(val: Documents, repeats: list[np.ndarray], bos: int) -> None:
    """No more of val's documents are among the repeats than chance puts there. Raises BadInput."""
    shared, limit = len(twins(val, Documents.of(repeats, bos)[0])), int(SHARED * len(val)) + 1
    if shared > limit:
        raise BadInput(
            f"hub.repo: {shared:,} of val's {len(val):,} documents are in train as well, more than {limit:,} is no "
            "accident (#2127); set hub.repo or hub.revision to an export that keeps val out of train"
        )


def write_dev(folder, about: dict, division: Division, tokenizer, change: Transform, shard_tokens: int) -> dict:
    """dev as any split is written; returns its index. about: what every index says of vocabulary and tokenizer."""
    table = ByteTable.of(tokenizer)
    documents = (whole_document(ids, tokenizer, table, change) for ids in division.dev)
    return shards.write_split(folder, "dev", documents, **about, shard_tokens=shard_tokens)


def whole_document(ids: np.ndarray, tokenizer: Tokenizer, table: ByteTable, change: Transform) -> Written:
    """A document of these ids as its split holds it."""
    carried = change.carried and change.carried(tokenizer.spell(ids))
    size = table.count(ids).sum() if carried is None else carried.sum(dtype=np.int64)
    return Written(*texts(ids, tokenizer, change), int(size), ids, carried)


def texts(ids: np.ndarray, tokenizer: Tokenizer, change: Transform) -> tuple[str, str, str]:
    """sha256 of raw text, text and text without case; of nothing where the tokens give no text back."""
    text = change.read(tokenizer.spell(ids)) or ""
    return digest(text), digest(text), digest(canonical.folded(text))


def write_val(folder, about, files: dict, val: Documents, sizes: np.ndarray, tokenizer, change) -> dict:
    """val's own files under our names; returns its index. files: by kind, (path, sha256) of each; sizes: bytes of
    each token.
    """
    rows = []
    totals = np.add.reduceat(sizes, val.starts[:-1])
    for number, total in enumerate(totals.tolist()):
        ids = val.ids(number)
        told = (*texts(ids, tokenizer, change), total, len(ids))
        rows.append(dict(zip(shards.DOCUMENT, told, strict=True)))
    listed = {}
    for kind, naming in (("val", shards.shard_name), ("sidecar", shards.sidecar_name)):
        listed[kind] = []
        for number, ((path, sha256), shard) in enumerate(zip(files[kind], val.shards, strict=False)):
            link(path, folder / naming("val", number))
            listed[kind].append({"file": naming("val", number), "tokens": len(shard), "sha256": sha256})
    index = {"split": "val"} | about | {"tokens": int(val.starts[-1]), "bytes": int(totals.sum()), "documents": rows}
    index |= {"shards": listed["val"], "sidecar": listed["sidecar"]}
    store.write_json(folder / shards.INDEX, index)
    return index


def write_train(folder, root: Path | None, about: dict, files: list, division: Division, others: dict) -> dict:
    """train's shards in ``root``, or in ``folder`` without one, and its index in ``folder``; returns the index.

    The index names ``root`` by its last part alone. files: (path, sha256) of each shard; others: the indexes of val and
    dev, of which train holds no document.
    """
    train, place = division.train, root or folder
    rows = []
    with writable(root.parent) if root else contextlib.nullcontext(), shards.publishing(place) as work:
        made = work / place.name
        made.mkdir()
        hashes = Hashes(made)
        for number, ((path, sha256), keep) in enumerate(zip(files, kept(division), strict=True)):
            name = shards.shard_name("train", number)
            shard = train.shards[number]
            if keep is None:
                link(path, made / name)
            elif keep.any():
                sha256 = write_shard(made / name, shard[:][keep])
            else:
                continue
            rows.append({"file": name, "tokens": int(len(shard) if keep is None else keep.sum()), "sha256": sha256})
            hashes.note(name, sha256)
        if root:
            hashes.save()
    apart = {name: shards.texts_digest(index["documents"]) for name, index in others.items()}
    index = {"split": "train"} | about | {"tokens": sum(row["tokens"] for row in rows), "bytes": None, "documents": []}
    index |= {"unlisted": {"documents": len(train) - len(division.repeated), "apart_from": apart}}
    index |= {"shards": rows, "sidecar": []} | ({"root": root.name} if root else {})
    store.write_json(folder / shards.INDEX, index)
    return index


def kept(division: Division) -> Iterator[np.ndarray | None]:
    """For each shard of train, bool [tokens]: what stays of it; None where all does."""
    starts, total = division.train.starts, sum(map(len, division.train.shards))
    out = [(int(starts[number]), int(starts[number + 1])) for number in division.repeated]
    begin = 0
    for shard in division.train.shards:
        end = begin + len(shard)
        inside = [(a - begin, b - begin) for a, b in [*out, (int(starts[-1]), total)] if a < end and begin < b]
        keep = np.ones(len(shard), dtype=bool) if inside else None
        for a, b in inside:
            keep[max(a, 0) : max(b, 0)] = False
        yield keep
        begin = end
