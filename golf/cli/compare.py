"""``golf compare``: whether one run is better than another on the same text, or the difference is within noise."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from golf.errors import InputError
from golf.evaluation import bpb, ledger, significance
from golf.evaluation.ledger import LedgerData
from golf.evaluation.significance import ConfidenceInterval, PairedDifference
from golf.pipeline.progress import format_count

__all__ = ["compare_ledgers"]

_JSON_VERSION = 1
_N_SHOWN_DOCUMENTS = 5  # the documents that changed most
_N_SHOWN_RUNS = 20  # of each side

_Ledger = tuple[LedgerData, dict[str, Any]]  # rows and metadata


def compare_ledgers(before: list[Path], after: list[Path], *, as_json: bool = False) -> str:
    """Return a report on ledgers of the same text: one for each seed, with the seeds in the same order on both sides.

    as_json: as one object, whose keys docs/cli.md#json lists.
    Raises InputError if the sides differ in number, the ledgers differ in text, those of one side differ in mode or
    predictor, or one run stands for two seeds; ArtifactError if a ledger was changed.
    """
    if not before or len(before) != len(after):
        raise InputError(
            f"got {len(before)} ledgers before and {len(after)} after; give as many on both sides, seed by seed"
        )
    paths = [*before, *after]
    ledgers = [ledger.read(path) for path in paths]
    _require_same_text(paths, ledgers)
    for side in (slice(len(before)), slice(len(before), None)):
        _require_distinct_seeds(paths[side], ledgers[side])
    rows = [data for data, _ in ledgers]
    before_rows, after_rows = rows[: len(before)], rows[len(before) :]
    change = significance.compute_paired_difference(before_rows, after_rows)
    before_scores, after_scores = ([bpb.compute_score(data).bpb for data in side] for side in (before_rows, after_rows))
    seeds = significance.compute_paired_interval(before_scores, after_scores) if len(before) > 1 else None
    welch = significance.compute_welch_interval(before_scores, after_scores) if len(before) > 1 else None
    is_identical = all(np.array_equal(one.nll, other.nll) for one, other in zip(before_rows, after_rows, strict=True))
    if as_json:
        report = {
            "version": _JSON_VERSION,
            "documents": len(rows[0].document_starts),
            "targets": len(rows[0].nll),
            "bytes": int(change.bytes.sum()),
            "before": _describe_side(before, ledgers[: len(before)], before_scores),
            "after": _describe_side(after, ledgers[len(before) :], after_scores),
            "identical": is_identical,
            "over_documents": _describe_interval(change.bpb_difference),
            "over_seeds_paired": _describe_interval(seeds),
            "over_seeds_welch": _describe_interval(welch),
            "improved_frac": change.improved_fraction,
            "improved_bytes_frac": change.improved_bytes_fraction,
        }
        return json.dumps(report, indent=2)
    lines = [
        f"{format_count(len(rows[0].document_starts), 'document')}, {format_count(len(rows[0].nll), 'target')}, "
        f"{change.bytes.sum():,} bytes",
        *_format_side("before", before, ledgers[: len(before)], before_scores),
        *_format_side("after", after, ledgers[len(before) :], after_scores),
        "",
    ]
    if is_identical:
        return "\n".join([*lines, "Identical: every target has the same score on both sides"])
    lines.append(_format_interval("difference over documents", change.bpb_difference, "fewer than two documents"))
    if seeds is not None and welch is not None:
        lines += [_format_interval("over seeds, paired", seeds), _format_interval("over seeds, Welch", welch)]
    else:
        lines.append("difference over seeds:     not measured; give several runs before and after")
    improved = (
        f"{change.improved_fraction:.1%} of the documents, with {change.improved_bytes_fraction:.1%} of the bytes"
    )
    lines += [f"better: {improved}", "", *_format_largest_changes(change, before_rows[0]), ""]
    return "\n".join([*lines, _format_conclusion(change.bpb_difference, seeds)])


def _describe_side(paths: list[Path], ledgers: list[_Ledger], scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"ledger": str(path), "mode": metadata["mode"], "invalid": "verdict" in metadata, "bpb": score}
        for path, (_, metadata), score in zip(paths, ledgers, scores, strict=True)
    ]


def _describe_interval(interval: ConfidenceInterval | None) -> dict[str, float | None] | None:
    return None if interval is None else {"bpb_difference": interval.value, "half_width": interval.half_width}


def _require_same_text(paths: list[Path], ledgers: list[_Ledger]) -> None:
    """Raises InputError naming the first ledger whose text differs from the first ledger's, and the difference."""
    rows, meta = ledgers[0]
    for path, (other_rows, other_meta) in zip(paths[1:], ledgers[1:], strict=True):
        problem = significance.find_text_mismatch(rows, other_rows)
        if meta.get("stream") != other_meta.get("stream"):
            problem = f"streams {meta.get('stream')} and {other_meta.get('stream')}"
        if problem:
            raise InputError(f"{paths[0]}, {path}: not the same text: {problem}; compare ledgers of one split")


def _require_distinct_seeds(paths: list[Path], ledgers: list[_Ledger]) -> None:
    """Raises InputError naming two ledgers of one side with the same scores or another mode or predictor."""
    for (path, (rows, meta)), (other_path, (other_rows, other_meta)) in itertools.combinations(
        zip(paths, ledgers, strict=True), 2
    ):
        if np.array_equal(rows.nll, other_rows.nll):
            raise InputError(f"{path}, {other_path}: the same scores, so not two seeds; give each run once")
        for key in ("mode", "predictor"):
            if meta.get(key) != other_meta.get(key):
                mismatch = f"{key}s {meta.get(key)} and {other_meta.get(key)}"
                raise InputError(f"{path}, {other_path}: {mismatch}; ledgers of one side may differ only in their seed")


def _format_side(name: str, paths: list[Path], ledgers: list[_Ledger], scores: list[float]) -> list[str]:
    """The bpb of each run, and over several runs their mean and standard deviation."""
    lines = [
        f"{name:<7} {score:.6f} bpb  {'invalid ' * ('verdict' in metadata)}{metadata['mode']:<8} {path}"
        for score, (_, metadata), path in list(zip(scores, ledgers, paths, strict=True))[:_N_SHOWN_RUNS]
    ]
    lines += [f"{name:<7} and {len(paths) - _N_SHOWN_RUNS:,} more runs"] * (len(paths) > _N_SHOWN_RUNS)
    stats = significance.summarize(scores)
    if stats.std is not None:
        lines.append(f"{name:<7} {stats.mean:.6f} bpb  mean of {stats.n} seeds, standard deviation {stats.std:.6f}")
    return lines


def _format_interval(name: str, interval: ConfidenceInterval, missing_reason: str = "") -> str:
    start = f"{name + ':':<26} {interval.value:+.6f} bpb"
    if interval.half_width is None:
        return f"{start}, no interval: {missing_reason}"
    low, high = interval.value - interval.half_width, interval.value + interval.half_width
    return f"{start}, {significance.CONFIDENCE_LEVEL:.0%} within {low:+.6f} to {high:+.6f}"


def _format_largest_changes(change: PairedDifference, rows: LedgerData) -> list[str]:
    """A table of the documents that changed most."""
    lines = [f"changed most{'document':>12}{'at target':>12}{'bytes':>10}{'bits':>12}{'its bpb':>10}"]
    for document in (index for index in change.find_largest_changes(_N_SHOWN_DOCUMENTS) if change.bits[index]):
        bits, n_bytes = change.bits[document], int(change.bytes[document])
        own_bpb = f"{bits / n_bytes:+.4f}" if n_bytes else "no bytes"
        lines.append(
            f"{'':<12}{document:>12,}{rows.document_starts[document]:>12,}{n_bytes:>10,}{bits:>+12.2f}{own_bpb:>10}"
        )
    return lines


def _format_conclusion(documents: ConfidenceInterval, seeds: ConfidenceInterval | None) -> str:
    """One sentence: whether the difference is larger than noise, and than which noise."""
    is_within_noise = {
        "over documents": documents.is_within_noise,
        "between seeds": seeds.is_within_noise if seeds else None,
    }
    within = [name for name, is_within in is_within_noise.items() if is_within]
    beyond = [name for name, is_within in is_within_noise.items() if is_within is False]
    if within:
        contrast = f", larger than noise {beyond[0]}" if beyond else ""
        return f"Within noise {' and '.join(within)}{contrast}"
    return f"Larger than noise {' and '.join(beyond)}" if beyond else "Unknown: no interval"
