"""Assign documents to train, dev and val by a hash of their normalized text, so that adding texts moves no document.

Documents with the same normalized text count as one; otherwise the same text could end up in two splits.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from golf.data import normalize
from golf.data.sources.interface import SourceDocument
from golf.errors import InputError
from golf.pipeline.progress import Progress, format_count

__all__ = [
    "SPLIT_NAMES",
    "Document",
    "SplitResult",
    "assign_split",
    "require_all_splits",
    "require_disjoint",
    "sha256_casefolded_text",
    "sha256_text",
    "split_documents",
]

SPLIT_NAMES = ("train", "dev", "val")
_PART_CHARS = 1 << 16  # of a text, hashed at once
_MORE_DOCUMENTS_HINT = (
    "add documents (cut a long text into several files or .jsonl lines) or change the percentages; "
    "about 100 documents fill all three splits"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A document to be split.

    name: for messages. text_utf8, normalized_utf8: the text, and the text on which models are scored, as UTF-8: as a
    string, a text with one emoji takes four bytes for each character. sha256: of the text. split_key: sha256 of the
    normalized text, which decides the split; None for a document that is empty once normalized. sections,
    can_be_held_out: as in SourceDocument.
    """

    name: str
    text_utf8: bytes
    normalized_utf8: bytes
    sha256: str
    split_key: str | None
    sections: tuple[str, ...] = ()
    can_be_held_out: bool = True

    @classmethod
    def from_source(cls, source: SourceDocument, report: Callable[[int], None] | None = None) -> "Document":
        """Normalize a text. report: called now and then with the number of characters that were normalized since."""
        text = source.text.encode()
        parts = []
        for part in normalize.iter_normalized(source.text):
            parts.append(part.encode())
            if report:
                report(len(part))
        normalized = b"".join(parts)
        key = hashlib.sha256(normalized).hexdigest() if normalized else None
        sha256 = hashlib.sha256(text).hexdigest()
        return cls(source.name, text, normalized, sha256, key, source.sections, source.can_be_held_out)

    @property
    def text(self) -> str:
        return self.text_utf8.decode()

    @property
    def normalized(self) -> str:
        return self.normalized_utf8.decode()

    def with_sections(self, sections: Sequence[str]) -> "Document":
        """Return the document with these sections and nothing else."""
        return Document.from_source(
            SourceDocument.from_sections(self.name, sections, can_be_held_out=self.can_be_held_out)
        )


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Documents by split, ordered by the split_key of their whole text, and how many were empty or duplicates."""

    splits: dict[str, list[Document]]
    n_empty: int
    n_duplicates: int


def split_documents(documents: Iterable[SourceDocument], val_percent: float, dev_percent: float) -> SplitResult:
    """Drop empty and duplicate documents and assign the others to the splits.

    documents: in any order, on which the result does not depend. val_percent, dev_percent: shares of those that can be
    held out. Raises InputError when a split stays empty.
    """
    document_by_key: dict[str, Document] = {}
    n_given = n_empty = n_chars = 0
    progress = Progress("fetch", None, "documents")

    def report(n_new_chars: int) -> None:
        nonlocal n_chars
        n_chars += n_new_chars
        progress.update(n_given, normalized=f"{n_chars / 1e6:,.1f} M characters")

    for source in documents:
        n_given += 1
        document = Document.from_source(source, report)
        if document.split_key is None:
            n_empty += 1
            continue
        duplicate = document_by_key.get(document.split_key)
        if duplicate is None or _sort_key(document) < _sort_key(duplicate):
            document_by_key[document.split_key] = document
    progress.finish()
    splits: dict[str, list[Document]] = {split: [] for split in SPLIT_NAMES}
    for key in sorted(document_by_key):
        document = document_by_key[key]
        split = assign_split(key, val_percent, dev_percent) if document.can_be_held_out else "train"
        splits[split].append(document)
    if n_given == n_empty:
        raise InputError(f"all {n_given} documents are empty; put text into fetch.path, or set fetch.source: docs")
    require_all_splits(splits, f"at fetch.val_percent = {val_percent:g}, fetch.dev_percent = {dev_percent:g}")
    require_disjoint(splits)
    return SplitResult(splits, n_empty, n_given - n_empty - len(document_by_key))


def _sort_key(document: Document) -> tuple[bool, str, str]:
    """The least of equal documents is kept: one that stays in train before one that can be held out."""
    return document.can_be_held_out, document.sha256, document.name


def assign_split(key: str, val_percent: float, dev_percent: float) -> str:
    """Return val for keys below val_percent, dev for the next dev_percent, else train.

    key: hex, read as a share of 100 %.
    """
    percent = int(key[:13], 16) / 16**13 * 100  # 52 bits are exact in a float
    if percent < val_percent:
        return "val"
    return "dev" if percent < val_percent + dev_percent else "train"


def require_all_splits(splits: dict[str, list[Document]], circumstance: str, hint: str = _MORE_DOCUMENTS_HINT) -> None:
    """Raise InputError when a split has no document. circumstance: when that is so, for the message."""
    missing = [split for split in SPLIT_NAMES if not splits[split]]
    if missing:
        n_documents = sum(map(len, splits.values()))
        raise InputError(
            f"no document for {' and '.join(missing)}: {format_count(n_documents, 'different document')} "
            f"{circumstance}; {hint}"
        )


def require_disjoint(splits: dict[str, list[Document]]) -> None:
    """Raise InputError when a text is in two splits, which assign_split must have made impossible."""
    split_by_key: dict[str | None, str] = {}
    for split, documents in splits.items():
        for document in documents:
            other_split = split_by_key.setdefault(document.split_key, split)
            if other_split != split:
                raise InputError(
                    f"{document.name}: the same text is in {other_split} and in {split}; splits must not share text"
                )


def sha256_text(text: str) -> str:
    """Return the sha256 of the text's UTF-8."""
    return _hash_parts(text[start : start + _PART_CHARS] for start in range(0, len(text), _PART_CHARS))


def sha256_casefolded_text(text: str) -> str:
    """Return the sha256 of the casefolded text's UTF-8. Each character is folded without regard to its neighbors."""
    parts = (text[start : start + _PART_CHARS] for start in range(0, len(text), _PART_CHARS))
    return _hash_parts(normalize.casefold(part) for part in parts)


def _hash_parts(parts: Iterable[str]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part.encode("utf-8"))
    return hasher.hexdigest()
