"""``golf compare``: whether one run is better than another on the same text, or within noise, as text for people."""

import itertools
from pathlib import Path

import numpy as np

from golf.errors import InputError
from golf.evaluation import bpb, ledger, significance
from golf.evaluation.ledger import LedgerData
from golf.evaluation.significance import ConfidenceInterval, PairedDifference

_N_SHOWN_DOCUMENTS = 5  # documents that changed most


def compare_ledgers(before: list[Path], after: list[Path]) -> str:
    """Ledgers of the same text, one a seed, the seeds in the same order on both sides.

    Raises BadInput when their numbers, their texts or the ways of one side differ, or one run stands for two seeds;
    BadArtifact when a ledger was changed.
    """
    if not before or len(before) != len(after):
        raise InputError(
            f"got {len(before)} ledgers before and {len(after)} after; name as many on both sides, seed by seed"
        )
    paths = [*before, *after]
    ledgers = [ledger.read(path) for path in paths]
    _require_same_text(paths, ledgers)
    for side in (slice(len(before)), slice(len(before), None)):
        _require_distinct_seeds(paths[side], ledgers[side])
    rows = [data for data, _ in ledgers]
    before_rows, after_rows = rows[: len(before)], rows[len(before) :]
    change = significance.compute_paired_difference(before_rows, after_rows)
    scores = [[bpb.compute_score(each).bpb for each in side] for side in (before_rows, after_rows)]
    lines = [
        f"{len(rows[0].documents):,} documents, {len(rows[0].nll):,} targets, {change.bytes.sum():,} bytes",
        *_format_side("before", paths[: len(before)], ledgers[: len(before)], scores[0]),
        *_format_side("after", paths[len(before) :], ledgers[len(before) :], scores[1]),
        "",
    ]
    if all(
        np.array_equal(before_data.nll, after_data.nll)
        for before_data, after_data in zip(before_rows, after_rows, strict=True)
    ):
        return "\n".join([*lines, "Identical: every target has the same score on both sides"])
    lines += [
        _format_interval("difference over documents", change.bpb_difference, "fewer than two documents"),
    ]
    seeds = significance.compute_paired_interval(*scores) if len(before) > 1 else None
    if seeds is not None:
        lines += [
            _format_interval("over seeds, in pairs", seeds),
            _format_interval("over seeds, Welch", significance.compute_welch_interval(*scores)),
        ]
    else:
        lines.append("difference over seeds:     not measured; name several runs before and after")
    lines += [
        f"better: {change.improved_fraction:.1%} of the documents, with {change.improved_bytes_fraction:.1%} of the bytes",
        "",
    ]
    return "\n".join(
        [*lines, *_format_largest_changes(change, before_rows[0]), "", _format_conclusion(change.bpb_difference, seeds)]
    )


def _require_same_text(paths: list[Path], ledgers: list[tuple[LedgerData, dict]]) -> None:
    """Raises BadInput naming the first ledger that is not of the first one's text, and what differs."""
    rows, meta = ledgers[0]
    for path, (other_rows, other_meta) in zip(paths[1:], ledgers[1:], strict=True):
        problem = significance.find_text_mismatch(rows, other_rows)
        if meta.get("stream") != other_meta.get("stream"):
            problem = f"the stream {meta.get('stream')} against {other_meta.get('stream')}"
        if problem:
            raise InputError(f"{paths[0]}, {path}: not the same text: {problem}; compare ledgers of one split")


def _require_distinct_seeds(paths: list[Path], ledgers: list[tuple[LedgerData, dict]]) -> None:
    """Raises BadInput naming two ledgers of one side that hold the same scores, or are not of one way and method."""
    for (path, (rows, meta)), (other_path, (other_rows, other_meta)) in itertools.combinations(
        zip(paths, ledgers, strict=True), 2
    ):
        if np.array_equal(rows.nll, other_rows.nll):
            raise InputError(f"{path}, {other_path}: the same scores, so one run and not two seeds; name each run once")
        for key in ("way", "method"):
            if meta.get(key) != other_meta.get(key):
                mismatch = f"{key} {meta.get(key)} against {other_meta.get(key)}"
                raise InputError(
                    f"{path}, {other_path}: {mismatch}; the ledgers of one side differ in their seed alone"
                )


def _format_side(
    name: str, paths: list[Path], ledgers: list[tuple[LedgerData, dict]], scores: list[float]
) -> list[str]:
    """Each run's bpb, and over several their mean and spread."""
    lines = [
        f"{name:<7} {score:.6f} bpb  {'invalid ' * ('verdict' in metadata)}{metadata['way']:<8} {path}"
        for score, (_, metadata), path in zip(scores, ledgers, paths, strict=True)
    ]
    if len(scores) > 1:
        mean, sd = significance.compute_mean_std(scores)
        lines.append(f"{name:<7} {mean:.6f} bpb  mean of {len(scores)} seeds, standard deviation {sd:.6f}")
    return lines


def _format_interval(name: str, interval: ConfidenceInterval, reason: str = "") -> str:
    if interval.half_width is None:
        return f"{name + ':':<26} {interval.value:+.6f} bpb, no interval: {reason}"
    low, high = interval.value - interval.half_width, interval.value + interval.half_width
    return f"{name + ':':<26} {interval.value:+.6f} bpb, {significance.CONFIDENCE_LEVEL:.0%} within {low:+.6f} to {high:+.6f}"


def _format_largest_changes(change: PairedDifference, rows: LedgerData) -> list[str]:
    """The documents that moved the difference most."""
    lines = [f"changed most{'document':>12}{'at target':>12}{'bytes':>10}{'bits':>12}{'its bpb':>10}"]
    for document in (index for index in change.largest_changes(_N_SHOWN_DOCUMENTS) if change.bits[index]):
        bits, n_bytes = change.bits[document], int(change.bytes[document])
        own_bpb = f"{bits / n_bytes:+.4f}" if n_bytes else "no bytes"
        lines.append(f"{'':<12}{document:>12,}{rows.documents[document]:>12,}{n_bytes:>10,}{bits:>+12.2f}{own_bpb:>10}")
    return lines


def _format_conclusion(documents: ConfidenceInterval, seeds: ConfidenceInterval | None) -> str:
    """One sentence: is the difference larger than noise, and than which."""
    noise_sources = [
        ("over documents", documents.is_within_noise),
        ("between seeds", seeds.is_within_noise if seeds else None),
    ]
    within_noise = [name for name, is_within_noise in noise_sources if is_within_noise]
    beyond_noise = [name for name, noise in noise_sources if noise is False]
    if within_noise:
        sentence = f"within noise {' and '.join(within_noise)}" + (
            f", larger than noise {beyond_noise[0]}" if beyond_noise else ""
        )
    else:
        sentence = f"larger than noise {' and '.join(beyond_noise)}" if beyond_noise else "not judged: no interval"
    return sentence[0].upper() + sentence[1:]
