"""Assign documents to train, dev and val by a hash of their normalized text, so that adding texts moves no document.

Documents with the same normalized text count as one; otherwise the same text could end up in two splits.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from golf.data import normalize
from golf.errors import InputError

__all__ = [
    "SPLIT_NAMES",
    "Document",
    "SplitResult",
    "assign_split",
    "require_disjoint",
    "sha256_text",
    "split_documents",
]

SPLIT_NAMES = ("train", "dev", "val")


@dataclass(frozen=True, slots=True)
class Document:
    """A document to be split.

    name: for messages. sha256: of the text. split_key: sha256 of the normalized text, which decides the split; None
    for a document that is empty once normalized.
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
    """Documents by split, ordered by split_key, and how many were left out as empty or as duplicates."""

    splits: dict[str, list[Document]]
    n_empty: int
    n_duplicates: int


def split_documents(documents: Iterable[tuple[str, str]], val_percent: float, dev_percent: float) -> SplitResult:
    """Drop empty and duplicate documents and assign the others to the splits.

    documents: (name, text) in any order; the result does not depend on the order.
    Raises InputError when a split stays empty.
    """
    document_by_key: dict[str, Document] = {}
    n_given = n_empty = 0
    for name, text in documents:
        n_given += 1
        document = Document.from_text(name, text)
        if document.split_key is None:
            n_empty += 1
            continue
        duplicate = document_by_key.get(document.split_key)
        if duplicate is None or (document.sha256, name) < (duplicate.sha256, duplicate.name):
            document_by_key[document.split_key] = document
    splits: dict[str, list[Document]] = {split: [] for split in SPLIT_NAMES}
    for key in sorted(document_by_key):
        splits[assign_split(key, val_percent, dev_percent)].append(document_by_key[key])
    _require_all_splits(splits, n_given, n_empty, val_percent, dev_percent)
    require_disjoint(splits)
    return SplitResult(splits, n_empty, n_given - n_empty - len(document_by_key))


def assign_split(key: str, val_percent: float, dev_percent: float) -> str:
    """val for keys below val_percent, dev for the next dev_percent, else train. key: hex, read as a share of 100 %."""
    percent = int(key[:13], 16) / 16**13 * 100  # 52 bits are exact in a float
    if percent < val_percent:
        return "val"
    return "dev" if percent < val_percent + dev_percent else "train"


def _require_all_splits(
    splits: dict[str, list[Document]], n_given: int, n_empty: int, val_percent: float, dev_percent: float
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
    """Raises InputError when a text is in two splits, which assign_split must have made impossible."""
    split_by_key: dict[str | None, str] = {}
    for split, documents in splits.items():
        for document in documents:
            other_split = split_by_key.setdefault(document.split_key, split)
            if other_split != split:
                raise InputError(
                    f"{document.name}: the same text is in {other_split} and in {split}; splits must not share text"
                )


def sha256_text(text: str) -> str:
    """sha256 of the text's UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
