"""The ledger: one row a target position, sealed chunk by chunk in a hash chain before any update sees the chunk.

File: tensors of kind "ledger": ``nll`` fp32 [N], ``bytes`` int32 [N], ``chunk`` int32 [N], ``documents`` int64 [D]
(row at which each document starts), ``states`` uint8 [C, 32] (hash of the method before it scored the chunk; zeros
where nobody looked), ``seals`` uint8 [C, 32]. A seal = sha256(the one before, the chunk's state, nll and bytes).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from golf.artifacts import io
from golf.errors import ArtifactError, DivergenceError
from golf.inference.interface import ScoredChunk

KIND = "ledger"
NO_STATE_HASH = bytes(32)  # in place of a state's hash


@dataclass(frozen=True)
class LedgerData:
    """A ledger's columns, in stream order."""

    nll: np.ndarray
    bytes: np.ndarray
    chunk: np.ndarray
    documents: np.ndarray
    state_hashes: np.ndarray


class Ledger:
    """Takes scores in, chunk by chunk, and never gives a chunk back unsealed."""

    def __init__(self, mode: str, bos_id: int):
        self._mode, self._bos_id = mode, bos_id
        self.nll: list[np.ndarray] = []
        self.bytes: list[np.ndarray] = []
        self._document_starts: list[int] = [0]
        self._state_hashes: list[bytes] = []
        self.chain_hashes: list[bytes] = []
        self._n_rows = 0

    def append(
        self,
        tokens: np.ndarray,
        nll: np.ndarray,
        n_bytes: np.ndarray,
        *,
        is_last: bool,
        state_hash: bytes = NO_STATE_HASH,
    ) -> ScoredChunk:
        """Write down a chunk: tokens [n + 1] (the one before it first), nll fp32 [n], bytes [n], state [32].

        Raises Diverged when a score is not finite: such a chunk can't be summed.
        """
        nll, n_bytes = np.array(nll, dtype=np.float32), np.array(n_bytes, dtype=np.int32)
        if not np.isfinite(nll).all():
            bad_row = self._n_rows + int(np.flatnonzero(~np.isfinite(nll))[0])
            raise DivergenceError(
                f"scoring ({self._mode}): the nll of target {bad_row} is not finite; lower ttt.lr or check the weights"
            )
        self.nll.append(nll)
        self.bytes.append(n_bytes)
        self._state_hashes.append(state_hash)
        self.chain_hashes.append(
            _chain_hash(self.chain_hashes[-1] if self.chain_hashes else self._mode.encode(), state_hash, nll, n_bytes)
        )
        start_rows = self._n_rows + np.flatnonzero(tokens[1:] == self._bos_id)
        self._document_starts += [int(row) for row in start_rows if row]
        self._n_rows += len(nll)
        return ScoredChunk(len(self.chain_hashes) - 1, np.array(tokens), is_last, self.chain_hashes[-1].hex())

    def to_data(self) -> LedgerData:
        chunk_ids = np.repeat(np.arange(len(self.nll), dtype=np.int32), [len(part) for part in self.nll])
        document_starts = np.array(self._document_starts, dtype=np.int64)
        state_hashes = np.frombuffer(b"".join(self._state_hashes), dtype=np.uint8).reshape(-1, len(NO_STATE_HASH))
        return LedgerData(
            np.concatenate(self.nll), np.concatenate(self.bytes), chunk_ids, document_starts, state_hashes
        )

    def save(self, path, **meta) -> None:
        data = self.to_data()
        tensors = {
            "nll": torch.from_numpy(data.nll),
            "bytes": torch.from_numpy(data.bytes),
            "chunk": torch.from_numpy(data.chunk),
            "documents": torch.from_numpy(data.documents),
            "states": torch.from_numpy(data.state_hashes.copy()),
            "seals": torch.tensor([list(chain_hash) for chain_hash in self.chain_hashes], dtype=torch.uint8),
        }
        io.save_tensors(path, tensors, kind=KIND, meta={"way": self._mode, **meta})


def _chain_hash(previous_hash: bytes, state_hash: bytes, nll: np.ndarray, n_bytes: np.ndarray) -> bytes:
    return hashlib.sha256(
        previous_hash + state_hash + nll.astype("<f4").tobytes() + n_bytes.astype("<i4").tobytes()
    ).digest()


def read(path) -> tuple[LedgerData, dict]:
    """A ledger's rows and meta. Raises BadArtifact when a row was removed, doubled, moved or edited."""
    tensors, meta = io.load_tensors(path, kind=KIND)
    try:
        nll, n_bytes, chunk_ids, document_starts, state_hashes, chain_hashes = (
            tensors[name].numpy() for name in ("nll", "bytes", "chunk", "documents", "states", "seals")
        )
        previous_hash = meta["way"].encode()
    except KeyError as missing:
        raise ArtifactError(path, f"not a ledger: {missing} is missing", io.RERUN_HINT) from None
    if not len(nll) == len(n_bytes) == len(chunk_ids) or (np.diff(chunk_ids) < 0).any():
        raise ArtifactError(path, "its columns do not belong together", io.RERUN_HINT)
    if (
        len(document_starts) == 0
        or document_starts[0] != 0
        or (np.diff(document_starts) <= 0).any()
        or document_starts[-1] >= len(nll)
    ):
        raise ArtifactError(path, "its documents do not each start at a row of their own", io.RERUN_HINT)
    bounds = np.searchsorted(chunk_ids, np.arange(len(chain_hashes) + 1))
    if bounds[0] != 0 or bounds[-1] != len(chunk_ids) or len(state_hashes) != len(chain_hashes):
        raise ArtifactError(path, f"has {len(chain_hashes)} seals and rows of more chunks", io.RERUN_HINT)
    for index, chain_hash in enumerate(chain_hashes):
        chunk_rows = slice(bounds[index], bounds[index + 1])
        previous_hash = _chain_hash(previous_hash, state_hashes[index].tobytes(), nll[chunk_rows], n_bytes[chunk_rows])
        if previous_hash != chain_hash.tobytes():
            raise ArtifactError(path, f"the seal of chunk {index} does not fit its rows: it was changed", io.RERUN_HINT)
    return LedgerData(nll, n_bytes, chunk_ids, document_starts, state_hashes), meta
