"""Which document is trained on, watched or judged: by a hash of its own text, so that adding texts moves no other.

Documents that the challenge's normaliser makes equal count as one: kept apart, they could put the same text on both
sides of the fence.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from golf.data import normalize
from golf.errors import InputError

SPLIT_NAMES = ("train", "dev", "val")


@dataclass(frozen=True, slots=True)
class Document:
    """name: for messages. sha256: of the text. key: sha256 of what the normaliser leaves of it, which says where the
    document goes; None where that is nothing.
    """

    name: str
    text: str
    sha256: str
    split_key: str | None

    @classmethod
    def from_text(cls, name: str, text: str) -> "Document":
        normalized = normalize.normalize(text)
        return cls(name, text, sha256_text(text), sha256_text(normalized) if normalized else None)


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Documents by split, in the order of their keys, and how many were left out."""

    splits: dict[str, list[Document]]
    n_empty: int
    n_duplicates: int


def split_documents(documents: Iterable[tuple[str, str]], val_percent: float, dev_percent: float) -> SplitResult:
    """Empty documents and repetitions dropped, the rest shared out; the same for any order of the documents.

    Raises BadInput when a split stays empty or, against all care, two splits share a document.
    """
    document_by_key, n_given, n_empty = {}, 0, 0
    for name, text in documents:
        n_given += 1
        document = Document.from_text(name, text)
        if document.split_key is None:
            n_empty += 1
            continue
        duplicate = document_by_key.get(document.split_key)
        if duplicate is None or (document.sha256, name) < (duplicate.sha256, duplicate.name):
            document_by_key[document.split_key] = document
    splits = {split: [] for split in SPLIT_NAMES}
    for key in sorted(document_by_key):
        splits[assign_split(key, val_percent, dev_percent)].append(document_by_key[key])
    _require_all_splits(splits, n_given, n_empty, val_percent, dev_percent)
    require_disjoint(splits)
    return SplitResult(splits, n_empty, n_given - n_empty - len(document_by_key))


def assign_split(key: str, val_percent: float, dev_percent: float) -> str:
    """val below val_percent, dev in the next dev_percent, else train, of the key read as a share in [0, 1)."""
    percent = int(key[:13], 16) / 16**13 * 100  # 52 bits are exact in a float
    if percent < val_percent:
        return "val"
    return "dev" if percent < val_percent + dev_percent else "train"


def _require_all_splits(
    splits: dict[str, list[Document]], n_given: int, n_empty: int, val_percent, dev_percent
) -> None:
    if n_given == n_empty:
        raise InputError(f"all {n_given} documents are empty; put text into fetch.path, or set fetch.source: stdlib")
    missing = [split for split in SPLIT_NAMES if not splits[split]]
    if missing:
        n_documents = sum(map(len, splits.values()))
        raise InputError(
            f"no document for {' and '.join(missing)}: {n_documents} different document{'s' * (n_documents != 1)} at "
            f"fetch.val_percent = {val_percent:g}, fetch.dev_percent = {dev_percent:g}; add documents (cut a long text "
            "into several files or .jsonl lines) or change the percentages; about 100 documents fill all three splits"
        )


def require_disjoint(splits: dict[str, list[Document]]) -> None:
    """Raises BadInput when a document's text is in two splits."""
    split_by_key = {}
    for split, documents in splits.items():
        for document in documents:
            other_split = split_by_key.setdefault(document.split_key, split)
            if other_split != split:
                raise InputError(
                    f"{document.name}: the same text is in {other_split} and in {split}; no split may share text"
                )


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
