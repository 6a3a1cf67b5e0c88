"""``golf compare``: whether one run is better than another on the same text, or within noise, as text for people."""

import itertools
from pathlib import Path

import numpy as np

from golf.ground.errors import BadInput
from golf.score import bpb, ledger, paired
from golf.score.ledger import Rows
from golf.score.paired import Change, Interval

SHOWN = 5  # documents that changed most


def compare(before: list[Path], after: list[Path]) -> str:
    """Ledgers of the same text, one a seed, the seeds in the same order on both sides.

    Raises BadInput when their numbers, their texts or the ways of one side differ, or one run stands for two seeds;
    BadArtifact when a ledger was changed.
    """
    if not before or len(before) != len(after):
        raise BadInput(
            f"got {len(before)} ledgers before and {len(after)} after; name as many on both sides, seed by seed"
        )
    paths = [*before, *after]
    read = [ledger.read(path) for path in paths]
    same_text(paths, read)
    for side in (slice(len(before)), slice(len(before), None)):
        several_seeds(paths[side], read[side])
    rows = [each for each, _ in read]
    olds, news = rows[: len(before)], rows[len(before) :]
    change = paired.difference(olds, news)
    scores = [[bpb.score(each).bpb for each in side] for side in (olds, news)]
    lines = [
        f"{len(rows[0].documents):,} documents, {len(rows[0].nll):,} targets, {change.bytes.sum():,} bytes",
        *side_lines("before", paths[: len(before)], read[: len(before)], scores[0]),
        *side_lines("after", paths[len(before) :], read[len(before) :], scores[1]),
        "",
    ]
    if all(np.array_equal(old.nll, new.nll) for old, new in zip(olds, news, strict=True)):
        return "\n".join([*lines, "Identical: every target has the same score on both sides"])
    lines += [
        shown("difference over documents", change.difference, "fewer than two documents"),
    ]
    seeds = paired.over_seeds(*scores) if len(before) > 1 else None
    if seeds is not None:
        lines += [shown("over seeds, in pairs", seeds), shown("over seeds, Welch", paired.welch(*scores))]
    else:
        lines.append("difference over seeds:     not measured; name several runs before and after")
    lines += [f"better: {change.better:.1%} of the documents, with {change.better_bytes:.1%} of the bytes", ""]
    return "\n".join([*lines, *most_changed(change, olds[0]), "", conclusion(change.difference, seeds)])


def same_text(paths: list[Path], read: list[tuple[Rows, dict]]) -> None:
    """Raises BadInput naming the first ledger that is not of the first one's text, and what differs."""
    rows, meta = read[0]
    for path, (other, told) in zip(paths[1:], read[1:], strict=True):
        problem = paired.unlike(rows, other)
        if meta.get("stream") != told.get("stream"):
            problem = f"the stream {meta.get('stream')} against {told.get('stream')}"
        if problem:
            raise BadInput(f"{paths[0]}, {path}: not the same text: {problem}; compare ledgers of one split")


def several_seeds(paths: list[Path], read: list[tuple[Rows, dict]]) -> None:
    """Raises BadInput naming two ledgers of one side that hold the same scores, or are not of one way and method."""
    for (one, (rows, meta)), (two, (other, told)) in itertools.combinations(zip(paths, read, strict=True), 2):
        if np.array_equal(rows.nll, other.nll):
            raise BadInput(f"{one}, {two}: the same scores, so one run and not two seeds; name each run once")
        for key in ("way", "method"):
            if meta.get(key) != told.get(key):
                found = f"{key} {meta.get(key)} against {told.get(key)}"
                raise BadInput(f"{one}, {two}: {found}; the ledgers of one side differ in their seed alone")


def side_lines(name: str, paths: list[Path], read: list[tuple[Rows, dict]], scores: list[float]) -> list[str]:
    """Each run's bpb, and over several their mean and spread."""
    lines = [
        f"{name:<7} {score:.6f} bpb  {'invalid ' * ('verdict' in told)}{told['way']:<8} {path}"
        for score, (_, told), path in zip(scores, read, paths, strict=True)
    ]
    if len(scores) > 1:
        mean, sd = paired.spread(scores)
        lines.append(f"{name:<7} {mean:.6f} bpb  mean of {len(scores)} seeds, standard deviation {sd:.6f}")
    return lines


def shown(name: str, found: Interval, lacking: str = "") -> str:
    if found.half is None:
        return f"{name + ':':<26} {found.value:+.6f} bpb, no interval: {lacking}"
    low, high = found.value - found.half, found.value + found.half
    return f"{name + ':':<26} {found.value:+.6f} bpb, {paired.LEVEL:.0%} within {low:+.6f} to {high:+.6f}"


def most_changed(change: Change, rows: Rows) -> list[str]:
    """The documents that moved the difference most."""
    lines = [f"changed most{'document':>12}{'at target':>12}{'bytes':>10}{'bits':>12}{'its bpb':>10}"]
    for number in (found for found in change.most(SHOWN) if change.bits[found]):
        bits, size = change.bits[number], int(change.bytes[number])
        own = f"{bits / size:+.4f}" if size else "no bytes"
        lines.append(f"{'':<12}{number:>12,}{rows.documents[number]:>12,}{size:>10,}{bits:>+12.2f}{own:>10}")
    return lines


def conclusion(documents: Interval, seeds: Interval | None) -> str:
    """One sentence: is the difference larger than noise, and than which."""
    named = [("over documents", documents.noise), ("between seeds", seeds.noise if seeds else None)]
    within = [name for name, noise in named if noise]
    beyond = [name for name, noise in named if noise is False]
    if within:
        said = f"within noise {' and '.join(within)}" + (f", larger than noise {beyond[0]}" if beyond else "")
    else:
        said = f"larger than noise {' and '.join(beyond)}" if beyond else "not judged: no interval"
    return said[0].upper() + said[1:]
