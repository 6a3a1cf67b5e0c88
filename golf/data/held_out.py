"""Keep dev and val apart from train: sections once, and no paragraph of dev or val that shares text with train.

Only dev and val are cut, and train alone decides what train keeps, so nothing of val shapes what is trained on.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from golf.data import normalize
from golf.data.overlap import WINDOW_BYTES, Range, WindowMatcher
from golf.data.splitting import Document, SplitResult, require_all_splits
from golf.pipeline.progress import Progress

__all__ = ["HeldOutCounts", "iter_texts", "keep_sections_once", "remove_shared_paragraphs"]

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_MAX_PASSES = 8  # over train, so that the time is linear for any text; two or three are usual
_PROGRESS_DOCUMENTS = 256  # between two updates of the progress line


@dataclass(frozen=True, slots=True)
class HeldOutCounts:
    """What was left out of a split because it shares a match with train (val: or with dev)."""

    documents: int  # of which nothing was left that is not in another document
    paragraphs: int
    bytes: int  # of normalized text

    def to_dict(self) -> dict[str, int]:
        return {"documents": self.documents, "paragraphs": self.paragraphs, "bytes": self.bytes}


def keep_sections_once(split_result: SplitResult) -> tuple[SplitResult, int]:
    """Keep each section of the documents once; also returns how many repetitions were left out.

    Sections are the same if their normalized text is. train comes first, then dev, then val, each in the order of its
    documents: what a split keeps does not depend on the splits after it. A document without sections stays as it is.
    Raises InputError when a split stays empty.
    """
    seen_sections: set[str] = set()
    seen_keys: set[str | None] = set()
    n_repeated = 0
    splits: dict[str, list[Document]] = {}
    for split, documents in split_result.splits.items():
        shortened = []
        for document in documents:
            new_sections = []
            for section in document.sections:
                normalized = normalize.normalize(section)
                if normalized not in seen_sections:
                    new_sections.append(section)
                    seen_sections.add(normalized)
            n_left_out = len(document.sections) - len(new_sections)
            shortened.append(document.with_sections(new_sections) if n_left_out else document)
            n_repeated += n_left_out
        splits[split] = _keep_new(shortened, seen_keys)
        seen_keys.update(document.split_key for document in splits[split])
    require_all_splits(splits, "once sections that occur again are left out")
    return replace(split_result, splits=splits), n_repeated


def remove_shared_paragraphs(split_result: SplitResult) -> tuple[SplitResult, dict[str, HeldOutCounts]]:
    """Remove every paragraph of dev that shares a match with train, and of val that shares one with train or dev.

    A match is one of golf.data.overlap, on normalized text; afterwards none is left. Of a match that spans paragraphs,
    those that it covers most are removed. Paragraphs are separated by a blank line, or by a newline in a text without
    blank lines. Also returns what was left out of dev and val. Raises InputError when nothing is left of dev or of val.
    """
    splits, counts = dict(split_result.splits), {}
    documents = list(splits["train"])
    progress = Progress("fetch", None, "documents searched for paragraphs of dev and val")
    for split in ("dev", "val"):
        splits[split], counts[split] = _remove_shared(splits[split], documents, progress)
        documents += splits[split]
    left_out = (f"{row.paragraphs:,} paragraphs ({row.bytes:,} bytes) of {name}" for name, row in counts.items())
    progress.finish(f"{' and '.join(left_out)} share text with train and are left out")
    require_all_splits(
        splits,
        f"once paragraphs that share {WINDOW_BYTES} bytes with train are left out (fetch.held_out: strict)",
        "set fetch.held_out: documents, or give texts with paragraphs of their own; without a blank line each line is "
        "a paragraph, and a document of one line is left out as a whole",
    )
    return replace(split_result, splits=splits), counts


def _remove_shared(
    documents: list[Document], others: Sequence[Document], progress: Progress
) -> tuple[list[Document], HeldOutCounts]:
    """Remove paragraphs until no match is left: those beside a removed one become neighbors, which is new text.

    Where that does not end, the last pass removes whole documents, which makes no new neighbors.
    """
    other_keys = {document.split_key for document in others}
    kept, n_paragraphs = documents, 0
    for n_passes_left in reversed(range(_MAX_PASSES)):
        matcher = WindowMatcher([document.normalized_utf8 for document in kept])
        matcher.search(iter_texts(others, progress))
        shortened = []
        for document, ranges in zip(kept, matcher.covered_ranges(), strict=True):
            shorter, n_removed = _remove_paragraphs(document, ranges, cut=n_passes_left > 0)
            shortened.append(shorter)
            n_paragraphs += n_removed
        if shortened == kept:
            break
        kept = _keep_new(shortened, other_keys)
    n_bytes, n_kept_bytes = (
        sum(len(document.normalized_utf8) for document in members) for members in (documents, kept)
    )
    return kept, HeldOutCounts(len(documents) - len(kept), n_paragraphs, n_bytes - n_kept_bytes)


def iter_texts(documents: Sequence[Document], progress: Progress) -> Iterator[bytes]:
    """Yield the documents' normalized text in UTF-8."""
    for number, document in enumerate(documents, 1):
        yield document.normalized_utf8
        if number % _PROGRESS_DOCUMENTS == 0:
            progress.update(number)


def _keep_new(documents: Iterable[Document], seen_keys: set[str | None]) -> list[Document]:
    """The documents that are neither empty nor equal to one before them or in ``seen_keys``: what was shortened may be.

    In the order given.
    """
    document_by_key: dict[str | None, Document] = {}
    for document in documents:
        if document.split_key is not None and document.split_key not in seen_keys:
            document_by_key.setdefault(document.split_key, document)
    return list(document_by_key.values())


def _remove_paragraphs(document: Document, covered: Sequence[Range], *, cut: bool) -> tuple[Document, int]:
    """The document without the paragraphs that share the ranges ``covered``, and their number.

    cut: otherwise without any paragraph.
    """
    if not covered:
        return document, 0
    paragraphs = _split_paragraphs(document)
    if not cut:
        return document.with_sections([]), len(paragraphs)
    is_shared = _mark_shared(np.array([len(normalized.encode()) for _, normalized in paragraphs]), covered)
    kept = [text for (text, _), shared in zip(paragraphs, is_shared, strict=True) if not shared]
    return document.with_sections(kept), int(is_shared.sum())


def _mark_shared(lengths: np.ndarray, covered: Sequence[Range]) -> np.ndarray:
    """bool [paragraphs]: which ones to remove, so that every range of ``covered`` loses text.

    lengths: int64 [paragraphs], bytes. A match often begins a little before the paragraph that is shared, such as at
    the full stop that ends the one before it. So a paragraph is removed if WINDOW_BYTES or half of its bytes are
    covered, and for a range without such a paragraph the one that is covered most.
    """
    stops = np.cumsum(lengths + 1) - 1  # a space is between two paragraphs
    starts = stops - lengths
    edges = np.array(covered)
    n_before = np.repeat(np.append(0, np.cumsum(edges[:, 1] - edges[:, 0])), 2)[1:-1]  # covered bytes before each edge
    n_covered = np.interp(stops, edges.ravel(), n_before) - np.interp(starts, edges.ravel(), n_before)
    is_shared: np.ndarray = (n_covered >= WINDOW_BYTES) | (2 * n_covered >= lengths)
    n_shared = np.append(0, np.cumsum(is_shared))
    first, last = np.searchsorted(stops, edges[:, 0], side="right"), np.searchsorted(starts, edges[:, 1], side="left")
    is_left = n_shared[first] == n_shared[last]
    for begin, end in zip(first[is_left].tolist(), last[is_left].tolist(), strict=True):
        is_shared[begin + int(n_covered[begin:end].argmax())] = True
    return is_shared


def _split_paragraphs(document: Document) -> list[tuple[str, str]]:
    """The paragraphs that are not empty once normalized, as text and as normalized text.

    A document whose normalized text is not that of its paragraphs, joined by spaces, is one paragraph.
    """
    text = document.text.replace("\r\n", "\n").replace("\r", "\n")
    for parts in (_BLANK_LINE.split(text), text.split("\n")):
        paragraphs = [(part, normalized) for part in parts if (normalized := normalize.normalize(part))]
        if len(paragraphs) > 1:
            break
    if " ".join(normalized for _, normalized in paragraphs) != document.normalized:
        return [(document.text, document.normalized)]
    return paragraphs
