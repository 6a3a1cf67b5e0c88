"""Metrics, curves and saved ledgers of an evaluation's passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from golf.evaluation import bpb
from golf.evaluation.ledger import LedgerData
from golf.evaluation.scoring_loop import MODES, ModeResult

__all__ = ["collect_metrics", "measure_gain", "save_ledgers", "tabulate_loss_by_position", "tabulate_running_bpb"]


def collect_metrics(
    results: dict[str, ModeResult], headline: str, is_clean: np.ndarray | None = None
) -> dict[str, Any]:
    """Return every mode's bpb with its standard error over documents, and the counts of the mode named as the headline.

    is_clean: bool [targets], see EvalStream; without it, or without a clean byte, val_bpb_clean is None.
    """
    headline_score = results[headline].score
    metrics: dict[str, Any] = {"headline": headline, "val_bpb": headline_score.bpb}
    ledger_data = results[headline].ledger.to_data()
    metrics["val_bpb_clean"] = None if is_clean is None else bpb.compute_bpb(ledger_data, is_clean)
    for mode in MODES:
        metrics[f"val_bpb_{mode}"] = results[mode].score.bpb
        metrics[f"val_bpb_{mode}_se"] = results[mode].score.standard_error
    return metrics | {
        "val_loss": headline_score.loss,
        "val_tokens": headline_score.n_tokens,
        "val_bytes": headline_score.n_bytes,
        "implied_bytes": round(headline_score.implied_bytes, 3),
        **{f"seconds_{mode}": round(results[mode].seconds, 3) for mode in MODES},
    }


def tabulate_running_bpb(results: dict[str, ModeResult]) -> list[dict[str, Any]]:
    """Return one row for each point of the stream: ``tokens`` scored so far, and the bpb up to there by mode."""
    return _merge_curves(results, bpb.compute_running_bpb, "tokens", "bpb")


def tabulate_loss_by_position(results: dict[str, ModeResult]) -> list[dict[str, Any]]:
    """Return one row for each bin of positions: its first ``position`` in a document, and the mean loss by mode."""
    return _merge_curves(results, bpb.compute_loss_by_position, "position", "loss")


def _merge_curves(
    results: dict[str, ModeResult], compute: Callable[[LedgerData], list[dict[str, Any]]], x: str, y: str
) -> list[dict[str, Any]]:
    modes = [mode for mode in MODES if mode in results]
    curves = [compute(results[mode].ledger.to_data()) for mode in modes]
    return [
        {x: points[0][x], **{mode: point[y] for mode, point in zip(modes, points, strict=True)}}
        for points in zip(*curves, strict=True)
    ]


def save_ledgers(
    results: dict[str, ModeResult], folder: str | Path, disclaimer: Callable[[str], str], **meta: Any
) -> None:
    """Write ``<mode>.safetensors`` for each mode, with ``meta`` in its header.

    disclaimer: from a mode to what must stand beside its score; unless empty it becomes "verdict" in the header.
    """
    for mode, result in results.items():
        annotations = {"verdict": text} if (text := disclaimer(mode)) else {}
        result.ledger.save(Path(folder) / f"{mode}.safetensors", **meta, **annotations)


def measure_gain(sliding: ModeResult, ttt: ModeResult) -> dict[str, float]:
    """Return the bpb of both modes, what the ttt mode gains, and its seconds."""
    bpb_sliding, bpb_ttt = sliding.score.bpb, ttt.score.bpb
    gain = bpb_sliding - bpb_ttt
    return {"bpb_sliding": bpb_sliding, "bpb_ttt": bpb_ttt, "gain": gain, "seconds": round(ttt.seconds, 3)}
