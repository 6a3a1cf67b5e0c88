"""The ledger: one row for each target position, sealed chunk by chunk in a hash chain before an update sees the chunk.

File: tensors of kind "ledger": ``nll`` fp32 [N], ``bytes`` int32 [N], ``chunk`` int32 [N], ``documents`` int64 [D]
(the row at which each document starts), ``chain_hashes`` uint8 [C, 32]. A chunk's chain hash is the sha256 of the chain
hash before it (the mode's name for the first), the chunk's nll and its bytes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io
from golf.errors import ArtifactError, DivergenceError
from golf.inference.interface import ScoredChunk

__all__ = ["KIND", "Ledger", "LedgerData", "read"]

KIND = "ledger"
_HASH_BYTES = 32  # of sha256
_DTYPES = {"nll": "float32", "bytes": "int32", "chunk": "int32", "documents": "int64"}


@dataclass(frozen=True)
class LedgerData:
    """A ledger's columns, in stream order, N rows in C chunks.

    document_starts: the row at which each document starts. chain_hashes: uint8 [C, 32], of each chunk.
    """

    nll: np.ndarray
    bytes: np.ndarray
    chunk_ids: np.ndarray
    document_starts: np.ndarray
    chain_hashes: np.ndarray


class Ledger:
    """Collects the scores of one pass, chunk by chunk, and seals each chunk as it comes in."""

    def __init__(self, mode: str, bos: int) -> None:
        self._mode, self._bos = mode, bos
        self.nll: list[np.ndarray] = []
        self.bytes: list[np.ndarray] = []
        self._document_starts: list[int] = [0]
        self.chain_hashes: list[bytes] = []
        self._n_rows = 0

    def append(self, tokens: np.ndarray, nll: np.ndarray, n_bytes: np.ndarray, *, is_last: bool) -> ScoredChunk:
        """Add a chunk and seal it.

        tokens: [n + 1], the token before the chunk first. nll: nats [n]. n_bytes: [n].
        Raises DivergenceError when a score is not finite, as such a chunk has no sum.
        """
        nll, n_bytes = np.array(nll, dtype=np.float32), np.array(n_bytes, dtype=np.int32)
        if not np.isfinite(nll).all():
            bad_row = self._n_rows + int(np.flatnonzero(~np.isfinite(nll))[0])
            raise DivergenceError(
                f"scoring ({self._mode}): the nll of target {bad_row} is not finite; lower ttt.lr or check the weights"
            )
        self.nll.append(nll)
        self.bytes.append(n_bytes)
        previous_hash = self.chain_hashes[-1] if self.chain_hashes else self._mode.encode()
        self.chain_hashes.append(_chain_hash(previous_hash, nll, n_bytes))
        start_rows = self._n_rows + np.flatnonzero(tokens[1:] == self._bos)
        self._document_starts += [int(row) for row in start_rows if row]
        self._n_rows += len(nll)
        return ScoredChunk(len(self.chain_hashes) - 1, np.array(tokens), is_last, self.chain_hashes[-1].hex())

    def to_data(self) -> LedgerData:
        """Return the chunks so far as columns."""
        chunk_ids = np.repeat(np.arange(len(self.nll), dtype=np.int32), [len(part) for part in self.nll])
        document_starts = np.array(self._document_starts, dtype=np.int64)
        chain_hashes = np.frombuffer(b"".join(self.chain_hashes), dtype=np.uint8).reshape(-1, _HASH_BYTES)
        return LedgerData(
            np.concatenate(self.nll), np.concatenate(self.bytes), chunk_ids, document_starts, chain_hashes
        )

    def save(self, path: str | Path, **meta: Any) -> None:
        """Write the ledger; ``meta`` goes into the header beside the mode."""
        data = self.to_data()
        tensors = {
            "nll": torch.from_numpy(data.nll),
            "bytes": torch.from_numpy(data.bytes),
            "chunk": torch.from_numpy(data.chunk_ids),
            "documents": torch.from_numpy(data.document_starts),
            "chain_hashes": torch.from_numpy(data.chain_hashes.copy()),
        }
        io.save_tensors(path, tensors, kind=KIND, meta={"mode": self._mode, **meta})


def _chain_hash(previous_hash: bytes, nll: np.ndarray, n_bytes: np.ndarray) -> bytes:
    return hashlib.sha256(previous_hash + nll.astype("<f4").tobytes() + n_bytes.astype("<i4").tobytes()).digest()


def read(path: str | Path) -> tuple[LedgerData, dict[str, Any]]:
    """Return a ledger's columns and header.

    Raises ArtifactError when a row was removed, duplicated, moved or edited.
    """
    tensors, meta = io.load_tensors(path, kind=KIND)
    try:
        nll, n_bytes, chunk_ids, document_starts, chain_hashes = (
            tensors[name].numpy() for name in ("nll", "bytes", "chunk", "documents", "chain_hashes")
        )
        previous_hash = str(meta["mode"]).encode()
    except KeyError as missing:
        raise ArtifactError(path, f"is not a complete ledger: {missing} is missing") from None
    columns = {"nll": nll, "bytes": n_bytes, "chunk": chunk_ids, "documents": document_starts}
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype != _DTYPES[name]:
            problem = f"{name} must be {_DTYPES[name]} [N], got {column.dtype} {list(column.shape)}"
            raise ArtifactError(path, problem)
    if not len(nll) == len(n_bytes) == len(chunk_ids) or (np.diff(chunk_ids) < 0).any():
        raise ArtifactError(path, "nll, bytes and chunk have different lengths or chunks out of order")
    if (
        len(document_starts) == 0
        or document_starts[0] != 0
        or (np.diff(document_starts) <= 0).any()
        or document_starts[-1] >= len(nll)
    ):
        raise ArtifactError(path, "documents must hold increasing row numbers that start at 0 and lie within the rows")
    bounds = np.searchsorted(chunk_ids, np.arange(len(chain_hashes) + 1))
    if bounds[0] != 0 or bounds[-1] != len(chunk_ids):
        raise ArtifactError(path, f"has {len(chain_hashes)} chain hashes but rows of other chunks")
    for index, chain_hash in enumerate(chain_hashes):
        chunk_rows = slice(bounds[index], bounds[index + 1])
        previous_hash = _chain_hash(previous_hash, nll[chunk_rows], n_bytes[chunk_rows])
        if previous_hash != chain_hash.tobytes():
            raise ArtifactError(path, f"chunk {index} does not match its chain hash: its rows were changed")
    return LedgerData(nll, n_bytes, chunk_ids, document_starts, chain_hashes), meta
