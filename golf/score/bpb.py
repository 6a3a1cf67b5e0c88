"""Bits per byte from a ledger's rows: float64 and int64 sums over the same targets, divided once."""

import math
from dataclasses import dataclass

import numpy as np

from golf.score.ledger import Rows


@dataclass(frozen=True)
class Score:
    """bpb with its standard error over documents; loss in nats a token; what they were summed over."""

    bpb: float
    standard_error: float | None
    loss: float
    tokens: int
    bytes: int

    @property
    def implied_bytes(self) -> float:
        """Bytes that loss, tokens and bpb imply; equals ``bytes`` unless one of them was computed otherwise.

        0 where all scores are 0, as of a method that was told its targets: that divides by nothing.
        """
        return self.loss / math.log(2) * self.tokens / self.bpb if self.bpb else 0.0


def score(rows: Rows) -> Score:
    nats, n_bytes = rows.nll.sum(dtype=np.float64), int(rows.bytes.sum(dtype=np.int64))
    return Score(
        bpb=float(nats / math.log(2) / n_bytes),
        standard_error=standard_error(rows),
        loss=float(nats / len(rows.nll)),
        tokens=len(rows.nll),
        bytes=n_bytes,
    )


def standard_error(rows: Rows) -> float | None:
    """Of bpb, over documents drawn at random; None under two documents."""
    return ratio_error(*by_document(rows))


def by_document(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Bits float64 [D] and bytes int64 [D] of each document."""
    bits = np.add.reduceat(rows.nll.astype(np.float64), rows.documents) / math.log(2)
    return bits, np.add.reduceat(rows.bytes.astype(np.int64), rows.documents)


def ratio_error(bits: np.ndarray, n_bytes: np.ndarray) -> float | None:
    """Standard error of Σ bits / Σ bytes over documents drawn at random (delta method); None under two of them."""
    n = len(bits)
    if n < 2:
        return None
    residuals = bits - bits.sum() / n_bytes.sum() * n_bytes
    return float(math.sqrt(n / (n - 1) * np.square(residuals).sum()) / n_bytes.sum())


def so_far(rows: Rows, points: int = 200) -> list[dict]:
    """bpb of the stream up to about ``points`` places."""
    bits = np.cumsum(rows.nll, dtype=np.float64) / math.log(2)
    n_bytes = np.cumsum(rows.bytes, dtype=np.int64)
    places = np.unique(np.linspace(0, len(bits) - 1, points + 1)[1:].astype(int))
    return [{"tokens": int(i) + 1, "bpb": round(float(bits[i] / n_bytes[i]), 6)} for i in places if n_bytes[i] > 0]


def by_position(rows: Rows) -> list[dict]:
    """Mean nats a token by position in its document, in bins that double: how much context helps."""
    starts = np.zeros(len(rows.nll), dtype=np.int64)
    starts[rows.documents] = np.diff(rows.documents, prepend=0)
    position = np.arange(len(rows.nll)) - np.cumsum(starts)
    edges = 2 ** np.arange(int(position.max() + 1).bit_length() + 1)
    bins = np.searchsorted(edges, position, side="right")
    total, count = np.bincount(bins, rows.nll.astype(np.float64)), np.bincount(bins)
    return [
        {
            "position": int(2 ** max(0, b - 1)) if b else 0,
            "loss": round(float(total[b] / count[b]), 6),
            "targets": int(count[b]),
        }
        for b in np.flatnonzero(count)
    ]
