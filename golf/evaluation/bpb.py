"""Bits per byte from a ledger's rows: float64 and int64 sums over the same targets, divided once."""

import math
from dataclasses import dataclass

import numpy as np

from golf.evaluation.ledger import LedgerData


@dataclass(frozen=True)
class BpbScore:
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


def compute_score(data: LedgerData) -> BpbScore:
    total_nats, n_bytes = data.nll.sum(dtype=np.float64), int(data.bytes.sum(dtype=np.int64))
    return BpbScore(
        bpb=float(total_nats / math.log(2) / n_bytes),
        standard_error=_compute_standard_error(data),
        loss=float(total_nats / len(data.nll)),
        tokens=len(data.nll),
        bytes=n_bytes,
    )


def _compute_standard_error(data: LedgerData) -> float | None:
    """Of bpb, over documents drawn at random; None under two documents."""
    return compute_ratio_standard_error(*sum_by_document(data))


def sum_by_document(data: LedgerData) -> tuple[np.ndarray, np.ndarray]:
    """Bits float64 [D] and bytes int64 [D] of each document."""
    bits = np.add.reduceat(data.nll.astype(np.float64), data.documents) / math.log(2)
    return bits, np.add.reduceat(data.bytes.astype(np.int64), data.documents)


def compute_ratio_standard_error(bits: np.ndarray, n_bytes: np.ndarray) -> float | None:
    """Standard error of Σ bits / Σ bytes over documents drawn at random (delta method); None under two of them."""
    n = len(bits)
    if n < 2:
        return None
    residuals = bits - bits.sum() / n_bytes.sum() * n_bytes
    return float(math.sqrt(n / (n - 1) * np.square(residuals).sum()) / n_bytes.sum())


def compute_running_bpb(data: LedgerData, n_points: int = 200) -> list[dict]:
    """bpb of the stream up to about ``points`` places."""
    bits = np.cumsum(data.nll, dtype=np.float64) / math.log(2)
    n_bytes = np.cumsum(data.bytes, dtype=np.int64)
    indices = np.unique(np.linspace(0, len(bits) - 1, n_points + 1)[1:].astype(int))
    return [{"tokens": int(i) + 1, "bpb": round(float(bits[i] / n_bytes[i]), 6)} for i in indices if n_bytes[i] > 0]


def compute_loss_by_position(data: LedgerData) -> list[dict]:
    """Mean nats a token by position in its document, in bins that double: how much context helps."""
    starts = np.zeros(len(data.nll), dtype=np.int64)
    starts[data.documents] = np.diff(data.documents, prepend=0)
    position = np.arange(len(data.nll)) - np.cumsum(starts)
    edges = 2 ** np.arange(int(position.max() + 1).bit_length() + 1)
    bins = np.searchsorted(edges, position, side="right")
    total_nats, counts = np.bincount(bins, data.nll.astype(np.float64)), np.bincount(bins)
    return [
        {
            "position": int(2 ** max(0, b - 1)) if b else 0,
            "loss": round(float(total_nats[b] / counts[b]), 6),
            "targets": int(counts[b]),
        }
        for b in np.flatnonzero(counts)
    ]
