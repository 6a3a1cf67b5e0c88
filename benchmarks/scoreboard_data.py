"""What the rows of the scoreboard share: the splits as tokens and as text, scores by document, the weight of code.

All coders score val as one stream in its order. A token coder pays for each BOS, a compressor for one newline between
two documents; neither counts as a byte of text. Bits per byte is the sum of bits over the bytes of the normalized text.

The clean score is that over the tokens of golf's stream none of whose bytes stand in a long match with train
(``EvalStream.is_clean``). The clean bytes are those of these tokens, for compressors too. BOS and separators are clean.
"""

import functools
import inspect
import itertools
import lzma
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.compression import code_archive
from golf.data import split_reader, transforms
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError

SEPARATOR = b"\n"  # between documents; normalized text holds none
_SPLITS = ("train", "dev", "val")


@dataclass(frozen=True)
class Scores:
    """bits: float64 [D], by document, or the total alone [1]. clean_bits: over the clean bytes; None: not measured."""

    bits: np.ndarray
    clean_bits: float | None


@dataclass(frozen=True)
class SplitData:
    """One split.

    documents: normalized UTF-8, in order. stream: its tokens, the bytes of each target, which targets are clean.
    """

    documents: list[bytes]
    stream: EvalStream

    @functools.cached_property
    def document_bytes(self) -> np.ndarray:
        """int64 [D]."""
        return np.array([len(document) for document in self.documents], dtype=np.int64)

    @property
    def n_bytes(self) -> int:
        return int(self.document_bytes.sum())

    @functools.cached_property
    def is_clean(self) -> np.ndarray | None:
        """bool [bytes of all documents]; None where fetch did not measure it."""
        return None if self.stream.is_clean is None else np.repeat(self.stream.is_clean, self.stream.target_bytes)

    @property
    def n_clean_bytes(self) -> int | None:
        return None if self.is_clean is None else int(self.is_clean.sum())

    def join(self) -> bytes:
        """The split as a compressor sees it."""
        return SEPARATOR.join(self.documents)

    def score_tokens(self, nll: np.ndarray) -> Scores:
        """nll: nats of each target, [n - 1]. A BOS belongs to the document that it starts."""
        bits = nll.astype(np.float64) / math.log(2)
        starts = np.flatnonzero(self.stream.tokens[1:] == self.stream.bos)
        by_document = np.add.reduceat(bits, [0, *starts.tolist()])
        return Scores(by_document, None if self.stream.is_clean is None else float(bits[self.stream.is_clean].sum()))

    def iter_pieces(self) -> Iterator[tuple[bytes, int, bool]]:
        """(bytes, document, is it clean): the joined stream, cut at documents and where clean bytes begin and end.

        The separator before a document belongs to it, as the BOS does.
        """
        begin = 0
        for number, document in enumerate(self.documents):
            if self.is_clean is None:
                yield (SEPARATOR if number else b"") + document, number, True
                continue
            mask = self.is_clean[begin : begin + len(document)]
            edges = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), len(document)]
            if number:
                yield SEPARATOR, number, True
            for start, stop in itertools.pairwise(edges):
                if stop > start:
                    yield document[start:stop], number, bool(mask[start])
            begin += len(document)

    def score_pieces(self, bits: list[float]) -> Scores:
        """bits: of each piece of ``iter_pieces``."""
        by_document, clean_bits = np.zeros(len(self.documents)), 0.0
        for piece_bits, (_, number, is_clean) in zip(bits, self.iter_pieces(), strict=True):
            by_document[number] += piece_bits
            clean_bits += piece_bits * is_clean
        return Scores(by_document, None if self.is_clean is None else clean_bits)

    def to_json(self, scores: Scores) -> dict[str, Any]:
        """bpb, clean_bpb and, where the coder streams, document_bits to a tenth of a bit."""
        total = float(scores.bits.sum())
        is_streamed = len(scores.bits) == len(self.documents)
        has_clean = scores.clean_bits is not None and self.n_clean_bytes
        return {
            "bpb": total / self.n_bytes,
            "clean_bpb": scores.clean_bits / self.n_clean_bytes if has_clean else None,
            "document_bits": [round(float(value), 1) for value in scores.bits] if is_streamed else None,
        }


class ScoreboardData:
    """The splits of a run, each opened at its first use.

    root: its folder artifacts/fetch. Raises InputError for a train split that lists no documents: it can't be a prime.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.tokenizer = Tokenizer.open(root / "tokenizer.model")

    @functools.cached_property
    def train(self) -> SplitData:
        return self._open("train")

    @functools.cached_property
    def dev(self) -> SplitData:
        return self._open("dev")

    @functools.cached_property
    def val(self) -> SplitData:
        return self._open("val")

    def digests(self) -> dict[str, str]:
        """sha256 of each split's index, which holds those of its shards, and of the tokenizer."""
        return {name: io.sha256_file(self._root / name / split_reader.INDEX_FILE) for name in _SPLITS} | {
            "tokenizer": self.tokenizer.sha256
        }

    def describe(self) -> dict[str, Any]:
        """Documents and bytes of each split, and the clean bytes of val."""
        summary: dict[str, Any] = {}
        for name in _SPLITS:
            index = split_reader.read_index(self._root / name)
            summary[name] = {"documents": split_reader.count_documents(index), "bytes": index["bytes"]}
        return summary | {"val_document_bytes": self.val.document_bytes.tolist(), "clean_bytes": self.val.n_clean_bytes}

    def _open(self, name: str) -> SplitData:
        split = split_reader.open_split(self._root / name)
        if not split.documents:
            raise InputError(f"{self._root / name}: its index lists no documents, and the scoreboard needs their texts")
        stream = EvalStream.from_split(split, self.tokenizer)
        transform = transforms.get_transform(io.read_json(self._root / "manifest.json")["transform"])
        texts = [
            transform.decode_pieces(self.tokenizer.ids_to_bytes(ids))
            for ids in np.split(stream.tokens, split.find_document_starts()[1:])
        ]
        documents = [(text or "").encode() for text in texts]
        if [len(document) for document in documents] != [row["bytes"] for row in split.documents]:
            problem = "its tokens do not decode to as many bytes as its index says"
            raise ArtifactError(self._root / name, problem, "run fetch again")
        return SplitData(documents, stream)


def weigh_functions(*functions: Callable[..., Any]) -> int:
    """Bytes of the functions' sources, minified and under xz: the glue between a library and its file."""
    source = "\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
    return len(lzma.compress(code_archive.minify(source.encode(), "glue"), preset=9 | lzma.PRESET_EXTREME))


def weigh_files(*names: str, root: Path) -> int:
    """Bytes of the files, as the compress stage would pack them."""
    return len(code_archive.pack(names, root))


def fit_largest(
    measure_size: Callable[[int], int], max_amount: int, limit_bytes: int, *, per_byte: float, slack_frac: float = 0.002
) -> int:
    """The largest amount of something whose size is at most ``limit_bytes``, or one that leaves ``slack_frac`` unused.

    Sizes grow nearly in proportion to the amount, so a step that divides what is left by the last slope is close, and
    three or four are enough; every fourth step halves the bracket, for sizes that don't. per_byte: the first slope.
    Returns 0 if not even 1 fits.
    """
    low, low_size, high = 0, 0, max_amount + 1  # the largest that fits and its size, the smallest that doesn't fit
    for step in itertools.count():
        if high - low <= 1 or low_size >= (1 - slack_frac) * limit_bytes:
            break
        guess = low + int(per_byte * ((1 - slack_frac / 2) * limit_bytes - low_size))
        amount = min(max((low + high) // 2 if step % 4 == 3 else guess, low + 1), high - 1)
        size = measure_size(amount)
        per_byte = (amount - low) / max(1, size - low_size)
        if size <= limit_bytes:
            low, low_size = amount, size
        else:
            high = amount
    return low
