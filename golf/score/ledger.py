"""The ledger: one row a target position, sealed chunk by chunk in a hash chain before any update sees the chunk.

File: tensors of kind "ledger": ``nll`` fp32 [N], ``bytes`` int32 [N], ``chunk`` int32 [N], ``documents`` int64 [D]
(row at which each document starts), ``states`` uint8 [C, 32] (hash of the method before it scored the chunk; zeros
where nobody looked), ``seals`` uint8 [C, 32]. A seal = sha256(the one before, the chunk's state, nll and bytes).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from golf.ground import store
from golf.ground.errors import BadArtifact, Diverged
from golf.score.sealed import Sealed

KIND = "ledger"
UNSEEN = bytes(32)  # in place of a state's hash


@dataclass(frozen=True)
class Rows:
    """A ledger's columns, in stream order."""

    nll: np.ndarray
    bytes: np.ndarray
    chunk: np.ndarray
    documents: np.ndarray
    states: np.ndarray


class Ledger:
    """Takes scores in, chunk by chunk, and never gives a chunk back unsealed."""

    def __init__(self, way: str, bos: int):
        self.way, self.bos = way, bos
        self.nll: list[np.ndarray] = []
        self.bytes: list[np.ndarray] = []
        self.documents: list[int] = [0]
        self.states: list[bytes] = []
        self.seals: list[bytes] = []
        self.rows = 0

    def seal(
        self, tokens: np.ndarray, nll: np.ndarray, n_bytes: np.ndarray, *, last: bool, state: bytes = UNSEEN
    ) -> Sealed:
        """Write down a chunk: tokens [n + 1] (the one before it first), nll fp32 [n], bytes [n], state [32].

        Raises Diverged when a score is not finite: such a chunk can't be summed.
        """
        nll, n_bytes = np.array(nll, dtype=np.float32), np.array(n_bytes, dtype=np.int32)
        if not np.isfinite(nll).all():
            bad = self.rows + int(np.flatnonzero(~np.isfinite(nll))[0])
            raise Diverged(
                f"scoring ({self.way}): the nll of target {bad} is not finite; lower ttt.lr or check the weights"
            )
        self.nll.append(nll)
        self.bytes.append(n_bytes)
        self.states.append(state)
        self.seals.append(next_seal(self.seals[-1] if self.seals else self.way.encode(), state, nll, n_bytes))
        starts = self.rows + np.flatnonzero(tokens[1:] == self.bos)
        self.documents += [int(row) for row in starts if row]
        self.rows += len(nll)
        return Sealed(len(self.seals) - 1, np.array(tokens), last, self.seals[-1].hex())

    def columns(self) -> Rows:
        chunk = np.repeat(np.arange(len(self.nll), dtype=np.int32), [len(part) for part in self.nll])
        documents = np.array(self.documents, dtype=np.int64)
        states = np.frombuffer(b"".join(self.states), dtype=np.uint8).reshape(-1, len(UNSEEN))
        return Rows(np.concatenate(self.nll), np.concatenate(self.bytes), chunk, documents, states)

    def save(self, path, **meta) -> None:
        rows = self.columns()
        tensors = {
            "nll": torch.from_numpy(rows.nll),
            "bytes": torch.from_numpy(rows.bytes),
            "chunk": torch.from_numpy(rows.chunk),
            "documents": torch.from_numpy(rows.documents),
            "states": torch.from_numpy(rows.states.copy()),
            "seals": torch.tensor([list(seal) for seal in self.seals], dtype=torch.uint8),
        }
        store.save_tensors(path, tensors, kind=KIND, meta={"way": self.way, **meta})


def next_seal(previous: bytes, state: bytes, nll: np.ndarray, n_bytes: np.ndarray) -> bytes:
    return hashlib.sha256(previous + state + nll.astype("<f4").tobytes() + n_bytes.astype("<i4").tobytes()).digest()


def read(path) -> tuple[Rows, dict]:
    """A ledger's rows and meta. Raises BadArtifact when a row was removed, doubled, moved or edited."""
    tensors, meta = store.load_tensors(path, kind=KIND)
    try:
        nll, n_bytes, chunk, documents, states, seals = (
            tensors[name].numpy() for name in ("nll", "bytes", "chunk", "documents", "states", "seals")
        )
        previous = meta["way"].encode()
    except KeyError as missing:
        raise BadArtifact(path, f"not a ledger: {missing} is missing", store.RERUN) from None
    if not len(nll) == len(n_bytes) == len(chunk) or (np.diff(chunk) < 0).any():
        raise BadArtifact(path, "its columns do not belong together", store.RERUN)
    if len(documents) == 0 or documents[0] != 0 or (np.diff(documents) <= 0).any() or documents[-1] >= len(nll):
        raise BadArtifact(path, "its documents do not each start at a row of their own", store.RERUN)
    bounds = np.searchsorted(chunk, np.arange(len(seals) + 1))
    if bounds[0] != 0 or bounds[-1] != len(chunk) or len(states) != len(seals):
        raise BadArtifact(path, f"has {len(seals)} seals and rows of more chunks", store.RERUN)
    for index, seal in enumerate(seals):
        part = slice(bounds[index], bounds[index + 1])
        previous = next_seal(previous, states[index].tobytes(), nll[part], n_bytes[part])
        if previous != seal.tobytes():
            raise BadArtifact(path, f"the seal of chunk {index} does not fit its rows: it was changed", store.RERUN)
    return Rows(nll, n_bytes, chunk, documents, states), meta
