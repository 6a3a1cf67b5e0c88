"""Bits per byte from a ledger's rows: nats and bytes are summed over the same targets and divided once.

Sums are in float64 and int64, so their rounding does not reach the reported digits.
"""

import math
from dataclasses import dataclass

import numpy as np

from golf.evaluation.ledger import LedgerData

__all__ = [
    "BpbScore",
    "compute_bpb",
    "compute_loss_by_position",
    "compute_ratio_standard_error",
    "compute_running_bpb",
    "compute_score",
    "sum_by_document",
]


@dataclass(frozen=True)
class BpbScore:
    """A score over a set of targets: bpb, its standard error over documents, the mean loss in nats a token."""

    bpb: float
    standard_error: float | None
    loss: float
    n_tokens: int
    n_bytes: int

    @property
    def implied_bytes(self) -> float:
        """loss / ln 2 × tokens / bpb: equals ``n_bytes`` unless one of these was computed in another way.

        0 when all scores are 0, as those of a predictor that was given its targets, so that nothing divides by 0.
        """
        return self.loss / math.log(2) * self.n_tokens / self.bpb if self.bpb else 0.0


def compute_score(data: LedgerData) -> BpbScore:
    """Return the score over all rows of a ledger."""
    total_nats, n_bytes = data.nll.sum(dtype=np.float64), int(data.bytes.sum(dtype=np.int64))
    return BpbScore(
        bpb=float(total_nats / math.log(2) / n_bytes),
        standard_error=compute_ratio_standard_error(*sum_by_document(data)),
        loss=float(total_nats / len(data.nll)),
        n_tokens=len(data.nll),
        n_bytes=n_bytes,
    )


def compute_bpb(data: LedgerData, mask: np.ndarray) -> float | None:
    """Return the bpb over the targets that ``mask``, bool [targets], keeps; None if these have no bytes."""
    n_bytes = int(data.bytes.sum(dtype=np.int64, where=mask))
    return float(data.nll.sum(dtype=np.float64, where=mask) / math.log(2) / n_bytes) if n_bytes else None


def sum_by_document(data: LedgerData) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits float64 [D] and bytes int64 [D] of each document."""
    bits = np.add.reduceat(data.nll.astype(np.float64), data.document_starts) / math.log(2)
    return bits, np.add.reduceat(data.bytes.astype(np.int64), data.document_starts)


def compute_ratio_standard_error(bits: np.ndarray, n_bytes: np.ndarray) -> float | None:
    """Return the standard error of Σ bits / Σ bytes when documents are drawn at random (delta method).

    bits, n_bytes: [D], by document. None for fewer than two documents.
    """
    n = len(bits)
    if n < 2:
        return None
    residuals = bits - bits.sum() / n_bytes.sum() * n_bytes
    return float(math.sqrt(n / (n - 1) * np.square(residuals).sum()) / n_bytes.sum())


def compute_running_bpb(data: LedgerData, n_points: int = 200) -> list[dict[str, float]]:
    """Return rows of ``tokens`` and the stream's ``bpb`` up to there, at about ``n_points`` evenly spaced points."""
    bits = np.cumsum(data.nll, dtype=np.float64) / math.log(2)
    n_bytes = np.cumsum(data.bytes, dtype=np.int64)
    indices = np.unique(np.linspace(0, len(bits) - 1, n_points + 1)[1:].astype(int))
    return [{"tokens": int(i) + 1, "bpb": round(float(bits[i] / n_bytes[i]), 6)} for i in indices if n_bytes[i] > 0]


def compute_loss_by_position(data: LedgerData) -> list[dict[str, float]]:
    """Return the mean nats a token by position in the document, in bins of doubling width: how much context helps.

    Rows of ``position`` (the bin's first), ``loss`` and the number of ``targets``.
    """
    starts = np.zeros(len(data.nll), dtype=np.int64)
    starts[data.document_starts] = np.diff(data.document_starts, prepend=0)
    position = np.arange(len(data.nll)) - np.cumsum(starts)
    edges = 2 ** np.arange(int(position.max() + 1).bit_length() + 1)
    bins = np.searchsorted(edges, position, side="right")
    total_nats, counts = np.bincount(bins, data.nll.astype(np.float64)), np.bincount(bins)
    return [
        {
            "position": 2 ** (b - 1) if b else 0,
            "loss": round(float(total_nats[b] / counts[b]), 6),
            "targets": int(counts[b]),
        }
        for b in np.flatnonzero(counts).tolist()
    ]
