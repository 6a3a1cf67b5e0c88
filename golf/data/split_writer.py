"""Write a split: token shards, their sidecar and index.json (golf.data.split_reader describes the folder)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.data.contamination import COVERED
from golf.data.overlap import Range
from golf.data.shard_file import write_shard
from golf.data.split_reader import DOCUMENT_TYPES, INDEX_FILE

__all__ = ["EncodedDocument", "make_shard_name", "make_sidecar_name", "rechunk", "write_split"]


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document ready to be written.

    sha256: of its raw text. text_sha256: of the normalized text, which its tokens must decode to.
    casefolded_text_sha256: of that text casefolded. bytes: UTF-8 length of the normalized text.
    tokens: uint16 ids [n], BOS first. token_bytes: uint16 [n] for the sidecar, or None. covered: ranges of the
    normalized text's bytes that occur in train (golf.data.contamination), or None where that is not measured.
    """

    sha256: str
    text_sha256: str
    casefolded_text_sha256: str
    bytes: int
    tokens: np.ndarray
    token_bytes: np.ndarray | None = None
    covered: Sequence[Range] | None = None

    def to_index_row(self) -> dict[str, Any]:
        """Return the document's row in index.json."""
        row = {key: getattr(self, key) for key in DOCUMENT_TYPES} | {"tokens": len(self.tokens)}
        return row if self.covered is None else row | {COVERED: [list(edges) for edges in self.covered]}

    def stack_columns(self) -> np.ndarray:
        """Return uint16 [n, 1 or 2]: the ids, and the byte counts beside them when there is a sidecar."""
        return np.stack([column for column in (self.tokens, self.token_bytes) if column is not None], axis=1)


def write_split(
    folder: Path | str,
    split_name: str,
    documents: Iterable[EncodedDocument],
    *,
    vocab_size: int,
    bos: int,
    tokenizer_sha256: str,
    shard_tokens: int,
) -> dict[str, Any]:
    """Write a split in place of whatever ``folder`` holds, all of it or nothing; returns its index.

    documents: read once, one at a time. Either all of them have token_bytes, which are written as a sidecar, or none.
    shard_tokens: tokens per shard; the last shard may be shorter.
    """
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    shards: list[dict[str, Any]] = []
    sidecar: list[dict[str, Any]] = []
    with io.replace_together(folder) as work_dir:
        staging_dir = work_dir / folder.name
        staging_dir.mkdir()
        for number, columns in enumerate(rechunk(_record_rows(documents, rows), shard_tokens)):
            file_names = (make_shard_name(split_name, number), make_sidecar_name(split_name, number))
            for entries, file_name, column in zip((shards, sidecar), file_names, columns.T, strict=False):
                sha256 = write_shard(staging_dir / file_name, column)
                entries.append({"file": file_name, "tokens": len(column), "sha256": sha256})
        index = {
            "split": split_name,
            "vocab_size": vocab_size,
            "bos": bos,
            "tokenizer_sha256": tokenizer_sha256,
            "tokens": sum(row["tokens"] for row in rows),
            "bytes": sum(row["bytes"] for row in rows),
            "documents": rows,
            "shards": shards,
            "sidecar": sidecar,
        }
        io.write_json(staging_dir / INDEX_FILE, index)
    return index


def make_shard_name(split_name: str, number: int) -> str:
    return f"{split_name}_{number:06d}.bin"


def make_sidecar_name(split_name: str, number: int) -> str:
    return f"{split_name}_bytes_{number:06d}.bin"


def rechunk(arrays: Iterable[np.ndarray], chunk_length: int) -> Iterator[np.ndarray]:
    """Concatenate arrays [n, ...] and cut them into arrays of ``chunk_length``; the last one may be shorter."""
    buffered: list[np.ndarray] = []
    n_buffered = 0
    for array in arrays:
        buffered.append(array)
        n_buffered += len(array)
        if n_buffered >= chunk_length:
            joined = np.concatenate(buffered)
            for start in range(0, n_buffered - chunk_length + 1, chunk_length):
                yield joined[start : start + chunk_length]
            buffered, n_buffered = [joined[n_buffered - n_buffered % chunk_length :]], n_buffered % chunk_length
    if n_buffered:
        yield np.concatenate(buffered)


def _record_rows(documents: Iterable[EncodedDocument], rows: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    """The documents' columns; appends each document's index row to ``rows`` as it passes."""
    for document in documents:
        rows.append(document.to_index_row())
        yield document.stack_columns()
