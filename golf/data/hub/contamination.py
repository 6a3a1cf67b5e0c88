"""Find which bytes of an export's dev and val occur in its train, whose text is too long to be held in memory.

An export holds tokens: train is decoded in blocks and searched for the text of dev and val. A byte of white space
counts as a space. Decoding and searching take 60 to 100 ns for each byte of train, about an hour for 40 GB.
"""

from collections.abc import Callable, Iterator

import numpy as np

from golf.data.hub.dedup import DocumentIndex
from golf.data.hub.splits import HubSplits, make_byte_counter
from golf.data.overlap import SEPARATOR, Range, WindowMatcher, find_runs, mark_overlapping
from golf.data.tokenizer import Tokenizer
from golf.data.transforms import Transform
from golf.pipeline.progress import Progress

__all__ = ["CoveredRanges", "find_covered_ranges"]

CoveredRanges = list[list[Range]]  # of each document of a split
_TO_SPACES = bytes.maketrans(b"\t\n\v\f\r", b"     ")


def find_covered_ranges(
    export_splits: HubSplits, val: DocumentIndex, token_bytes: np.ndarray, tokenizer: Tokenizer, transform: Transform
) -> dict[str, CoveredRanges]:
    """Return the ranges of each dev and val document's bytes that occur in train, as its tokens' bytes count them.

    token_bytes: int64 [tokens] of val.
    """
    decoder = _Decoder(tokenizer, transform)
    counted_bytes = [*map(make_byte_counter(tokenizer, transform), export_splits.dev)]
    n_dev = len(counted_bytes)
    counted_bytes += np.split(token_bytes, val.starts[1:-1])
    texts, text_bytes = [], []
    for ids in (*export_splits.dev, *map(val.read_document, range(len(val)))):
        text, lengths = decoder.decode(ids)
        texts.append(text[len(SEPARATOR) :].tobytes())
        text_bytes.append(np.append(0, lengths[1:]))
    matcher = WindowMatcher(texts)
    progress = Progress("fetch", len(export_splits.train), "documents of train searched for dev and val")
    matcher.search(_decode_train(export_splits, decoder, progress))
    ranges = [_align(*rows) for rows in zip(matcher.covered_ranges(), text_bytes, counted_bytes, strict=True)]
    n_covered = sum(stop - start for rows in ranges for start, stop in rows)
    n_bytes = sum(int(counts.sum()) for counts in counted_bytes)
    progress.finish(f"{n_covered / max(1, n_bytes):.2%} of the bytes of dev and val occur in train")
    return {"dev": ranges[:n_dev], "val": ranges[n_dev:]}


def _decode_train(export_splits: HubSplits, decoder: "_Decoder", progress: Progress) -> Iterator[bytes]:
    """The text of those documents that stay in train, several at a time."""
    train, duplicates = export_splits.train, export_splits.duplicate_numbers
    for first, stop in train.iter_blocks():
        ids = train.read_documents(first, stop)
        is_kept = np.ones(len(ids), dtype=bool)
        for number in duplicates[np.searchsorted(duplicates, first) : np.searchsorted(duplicates, stop)].tolist():
            begin, end = train.starts[number : number + 2] - train.starts[first]
            is_kept[begin:end] = False
        if is_kept.any():
            yield decoder.decode(ids[is_kept])[0].tobytes()
        progress.update(stop)


class _Decoder:
    """Decodes the ids of whole documents into text, each document after a separator."""

    def __init__(self, tokenizer: Tokenizer, transform: Transform):
        self._tokenizer, self._transform = tokenizer, transform
        pieces = [piece.translate(_TO_SPACES) for piece in tokenizer.ids_to_bytes(np.arange(tokenizer.vocab_size))]
        pieces[tokenizer.bos] = SEPARATOR
        self._pieces = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        self._lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._starts_with_space = np.array([piece.startswith(b" ") for piece in pieces])

    def decode(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The text, uint8 [bytes], and the bytes of each token, int64 [tokens]. ids: uint16 [tokens], BOS first.

        A document that does not decode has no text.
        """
        if self._transform.count_piece_bytes is not None:
            return self._decode_documents(ids, self._transform.count_piece_bytes)
        lengths, starts = self._lengths[ids], self._starts[ids]
        after_bos = np.flatnonzero(ids[:-1] == self._tokenizer.bos) + 1
        prefixed = after_bos[self._starts_with_space[ids[after_bos]]]  # as Transform.decode_pieces drops it
        lengths[prefixed] -= 1
        starts[prefixed] += 1
        ends = np.cumsum(lengths)
        indices = np.repeat(starts - (ends - lengths), lengths)
        indices += np.arange(len(indices))
        return self._pieces[indices], lengths

    def _decode_documents(
        self, ids: np.ndarray, count_piece_bytes: Callable[[list[bytes]], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """``decode`` for a transform, which needs a whole document at a time."""
        parts, lengths = [], []
        for document in np.split(ids, np.flatnonzero(ids == self._tokenizer.bos)[1:]):
            pieces = self._tokenizer.ids_to_bytes(document)
            text = self._transform.decode_pieces(pieces)
            parts.append(SEPARATOR + (text or "").encode().translate(_TO_SPACES))
            lengths.append(count_piece_bytes(pieces).astype(np.int64) * bool(text))
            lengths[-1][0] = len(SEPARATOR)
        return np.frombuffer(b"".join(parts), dtype=np.uint8), np.concatenate(lengths)


def _align(ranges: list[Range], text_bytes: np.ndarray, counted_bytes: np.ndarray) -> list[Range]:
    """Ranges of a document's text as ranges of the bytes that are counted for its tokens.

    text_bytes, counted_bytes: int64 [tokens]. Where they differ, as with a sidecar that counts the raw text (#1729),
    a token of which a byte is covered is covered as a whole.
    """
    if np.array_equal(text_bytes, counted_bytes):
        return ranges
    stops = np.cumsum(text_bytes)
    return find_runs(np.repeat(mark_overlapping(ranges, stops - text_bytes, stops), counted_bytes))
