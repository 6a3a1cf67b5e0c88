"""What each byte of a token costs, and the event that the token ends: together what the token costs, to the last bit.

Within a token, the next byte has the probability that the tokens which begin with the bytes so far give it, and one
more event says that the token ends there:

    p(b_k | b_1 … b_{k-1}) = Σ p(tokens that begin with b_1 … b_k) / Σ p(tokens that begin with b_1 … b_{k-1})
    p(end | b_1 … b_n)     = p(the token) / Σ p(tokens that begin with b_1 … b_n)

The product telescopes to p(the token). Without the last factor (PR #1916) the product is no code length: a decoder does
not learn where a token ends (docs/references.md#byte-mixture).
"""

# V vocabulary, N targets, E events: the bytes of all targets and one end for each

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io
from golf.errors import ArtifactError

__all__ = ["ByteCostSplitter", "ByteCosts", "PlaceInToken"]

_KIND = "byte_costs"
_MAX_BYTE = 0xFF


class ByteCostSplitter:
    """Splits a token's nats among its bytes and its end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """pieces: the bytes of each id; an id without text, such as BOS, has none."""
        self._order = sorted(range(len(pieces)), key=pieces.__getitem__)
        self._sorted_pieces = [pieces[i] for i in self._order]
        self._pieces = pieces
        self._ranges: dict[int, list[slice]] = {}

    def split_nll(self, log_probs_V: np.ndarray, token: int) -> np.ndarray:
        """Return the nats of each byte of ``token``, then of its end: float64 [bytes + 1]. Their sum is -log p(token).

        log_probs_V: the distribution of the token's position, [V].
        """
        sorted_probs = np.exp(log_probs_V.astype(np.float64))[self._order]
        masses = [float(sorted_probs[part].sum()) for part in self._find_ranges(token)]
        events = np.array([1.0, *masses, math.exp(float(log_probs_V[token]))])
        return -np.diff(np.log(events))

    def _find_ranges(self, token: int) -> list[slice]:
        """Where the tokens that begin with the first k bytes of ``token`` stand in sorted order, k from 1."""
        if token not in self._ranges:
            piece = self._pieces[token]
            self._ranges[token] = [self._find_prefix(piece[: k + 1]) for k in range(len(piece))]
        return self._ranges[token]

    def _find_prefix(self, prefix: bytes) -> slice:
        begin = bisect.bisect_left(self._sorted_pieces, prefix)
        stem = prefix.rstrip(bytes([_MAX_BYTE]))
        if not stem:
            return slice(begin, len(self._sorted_pieces))
        after = stem[:-1] + bytes([stem[-1] + 1])  # the first string behind all that begin with the prefix
        return slice(begin, bisect.bisect_left(self._sorted_pieces, after))


@dataclass(frozen=True)
class PlaceInToken:
    """The events at one place in the token. name: "byte 1", …, "end". nats: their sum."""

    name: str
    n_events: int
    nats: float


@dataclass(frozen=True)
class ByteCosts:
    """The events of a stream's targets.

    nats: float32 [E]. n_bytes: int32 [N]; target i has n_bytes[i] + 1 events.
    """

    nats: np.ndarray
    n_bytes: np.ndarray

    @property
    def end_indices(self) -> np.ndarray:
        """The index of each target's end event, int64 [N]."""
        return np.cumsum(self.n_bytes.astype(np.int64) + 1) - 1

    def sum_by_target(self) -> np.ndarray:
        """Return the nats of each target, float64 [N]."""
        starts = self.end_indices - self.n_bytes
        return np.add.reduceat(self.nats.astype(np.float64), starts)

    def tabulate_places(self, n_places: int) -> list[PlaceInToken]:
        """Return the first ``n_places`` bytes of tokens, all later bytes together, and the ends."""
        ends = self.end_indices
        place = np.arange(len(self.nats)) - np.repeat(ends - self.n_bytes, self.n_bytes + 1)
        place = np.minimum(place, n_places)
        place[ends] = n_places + 1
        nats = np.bincount(place, self.nats.astype(np.float64), minlength=n_places + 2)
        counts = np.bincount(place, minlength=n_places + 2)
        names = [*(f"byte {k + 1}" for k in range(n_places)), f"byte {n_places + 1} on", "end"]
        return [PlaceInToken(*row) for row in zip(names, counts.tolist(), nats.tolist(), strict=True)]

    def save(self, path: str | Path, **metadata: Any) -> None:
        """Write the events with ``metadata``."""
        tensors = {"nats": torch.from_numpy(self.nats), "n_bytes": torch.from_numpy(self.n_bytes)}
        io.save_tensors(path, tensors, kind=_KIND, meta=metadata)

    @classmethod
    def load(cls, path: str | Path) -> "tuple[ByteCosts, dict[str, Any]]":
        """Return the events and the metadata. Raises ArtifactError for a missing or damaged file."""
        tensors, metadata = io.load_tensors(path, kind=_KIND)
        dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
        if dtypes != {"nats": "float32", "n_bytes": "int32"}:
            raise ArtifactError(path, "is not a table of byte costs")
        costs = cls(tensors["nats"].numpy(), tensors["n_bytes"].numpy())
        if (costs.n_bytes < 0).any() or len(costs.nats) != len(costs.n_bytes) + int(costs.n_bytes.sum()):
            raise ArtifactError(path, "its events are not those of its targets")
        return costs, metadata
