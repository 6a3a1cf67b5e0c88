"""Which document is trained on, watched or judged: by a hash of its own text, so that adding texts moves no other.

Documents that the challenge's normaliser makes equal count as one: kept apart, they could put the same text on both
sides of the fence.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from golf.data import canonical
from golf.ground.errors import BadInput

SPLITS = ("train", "dev", "val")


@dataclass(frozen=True, slots=True)
class Document:
    """name: for messages. sha256: of the text. key: sha256 of what the normaliser leaves of it, which says where the
    document goes; None where that is nothing.
    """

    name: str
    text: str
    sha256: str
    key: str | None

    @classmethod
    def of(cls, name: str, text: str) -> "Document":
        left = canonical.text(text)
        return cls(name, text, digest(text), digest(left) if left else None)


@dataclass(frozen=True, slots=True)
class Division:
    """Documents by split, in the order of their keys, and how many were left out."""

    splits: dict[str, list[Document]]
    empty: int
    duplicates: int


def divide(documents: Iterable[tuple[str, str]], val_percent: float, dev_percent: float) -> Division:
    """Empty documents and repetitions dropped, the rest shared out; the same for any order of the documents.

    Raises BadInput when a split stays empty or, against all care, two splits share a document.
    """
    met, given, empty = {}, 0, 0
    for name, text in documents:
        given += 1
        document = Document.of(name, text)
        if document.key is None:
            empty += 1
            continue
        twin = met.get(document.key)
        if twin is None or (document.sha256, name) < (twin.sha256, twin.name):
            met[document.key] = document
    splits = {split: [] for split in SPLITS}
    for key in sorted(met):
        splits[place(key, val_percent, dev_percent)].append(met[key])
    demand_all(splits, given, empty, val_percent, dev_percent)
    demand_disjoint(splits)
    return Division(splits, empty, given - empty - len(met))


def place(key: str, val_percent: float, dev_percent: float) -> str:
    """val below val_percent, dev in the next dev_percent, else train, of the key read as a share in [0, 1)."""
    percent = int(key[:13], 16) / 16**13 * 100  # 52 bits are exact in a float
    if percent < val_percent:
        return "val"
    return "dev" if percent < val_percent + dev_percent else "train"


def demand_all(splits: dict[str, list[Document]], given: int, empty: int, val_percent, dev_percent) -> None:
    if given == empty:
        raise BadInput(f"all {given} documents are empty; put text into fetch.path, or set fetch.source: stdlib")
    missing = [split for split in SPLITS if not splits[split]]
    if missing:
        count = sum(map(len, splits.values()))
        raise BadInput(
            f"no document for {' and '.join(missing)}: {count} different document{'s' * (count != 1)} at "
            f"fetch.val_percent = {val_percent:g}, fetch.dev_percent = {dev_percent:g}; add documents (cut a long text "
            "into several files or .jsonl lines) or change the percentages; about 100 documents fill all three splits"
        )


def demand_disjoint(splits: dict[str, list[Document]]) -> None:
    """Raises BadInput when a document's text is in two splits."""
    owner = {}
    for split, documents in splits.items():
        for document in documents:
            other = owner.setdefault(document.key, split)
            if other != split:
                raise BadInput(f"{document.name}: the same text is in {other} and in {split}; no split may share text")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
