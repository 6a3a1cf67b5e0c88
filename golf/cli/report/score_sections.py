"""Sections on scores: the result, how it came about along the text, what else the bytes could hold, and the verdict."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from golf.artifacts.io import group_by, parse_finite_float, parse_non_negative_float
from golf.cli.figures import format_figure
from golf.cli.report import page, svg
from golf.cli.report.page import PageSection
from golf.cli.report.run_files import RunFiles
from golf.cli.report.svg import Series
from golf.compliance import verdict
from golf.compliance.check_result import NOT_RUN, UNRULED
from golf.evaluation import ledger
from golf.evaluation.ledger import LedgerData
from golf.evaluation.scoring_loop import MODES

__all__ = [
    "MODE_NAMES",
    "compute_bpb_by_position",
    "describe_comparison",
    "render_result_section",
    "render_scoreboard_section",
    "render_scores_section",
    "render_verdict_section",
]

_EVALUATE_HINT = "write it with: dvc repro evaluate"
_LEARNING_CHECK = "U-a"  # concerns learning from scored chunks, which the ttt mode alone does
MODE_NAMES = {
    "plain": "plain windows",
    "sliding": "sliding windows",
    "ttt": "score-first learning and memory (ttt)",
}
_Evaluation = tuple[dict[str, Any], dict[str, Any]]


def render_result_section(run: RunFiles, evaluation: _Evaluation | None) -> PageSection:
    """Return the headline with its error, its label and what it compares with; every mode; the limits."""
    if evaluation is None:
        missing = f"{run.name('evaluate/verdict.json')} is missing"
        return PageSection("result", "Result", page.render_not_run(missing, _EVALUATE_HINT))
    metrics, record = evaluation
    headline = metrics["headline"]
    labels = _label_mode(headline, metrics, record)
    parts = [
        f'<p class="score">{metrics["val_bpb"]:.4f} bpb{_format_error(metrics[f"val_bpb_{headline}_se"])} {labels}</p>',
        page.render_paragraph(
            f"Bits per byte of val in the mode {MODE_NAMES.get(headline, headline)}, which was named before anything "
            "was scored; ± is the standard error over documents. Lower is better."
        ),
        page.render_paragraph(f"Verdict: {record['verdict']}. Track {record['track']}."),
        page.render_paragraph(describe_comparison(metrics)),
    ]
    if run.is_stale(record):
        parts.append(
            page.render_not_run("the model.golf of this run is not the one that was evaluated", _EVALUATE_HINT)
        )
    rows = [
        [
            _name_mode(mode, metrics, record),
            f"{metrics[f'val_bpb_{mode}']:.4f}",
            format_figure(metrics[f"val_bpb_{mode}_se"], ".4f"),
            f"{metrics[f'seconds_{mode}']:.1f}",
        ]
        for mode in MODES
    ]
    parts.append(page.render_table(("scoring mode", "bpb of val", "± s.e.", "seconds"), rows, numbers=(1, 2, 3)))
    rows = [
        _format_limit("artifact and code, bytes", metrics["artifact_bytes"], metrics["limit_bytes"], ",.0f"),
        _format_limit(
            "training and calibration, s", metrics["train_seconds"], metrics.get("train_limit_seconds"), ".1f"
        ),
        _format_limit("evaluation, s", metrics["eval_seconds"], metrics.get("eval_limit_seconds"), ".1f"),
    ]
    parts.append(page.render_table(("limit of this run", "used", "allowed", ""), rows, numbers=(1, 2)))
    clean = format_figure(metrics["val_bpb_clean"], ".4f")
    share = format_figure(metrics["val_contamination"], ".2%")
    parts.append(
        page.render_paragraph(
            f"Of val's bytes, {share} also occur in train; the score over the other bytes is {clean} bpb."
        )
    )
    return PageSection("result", "Result", "".join(parts))


def _name_mode(mode: str, metrics: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """HTML of a mode's name with what must stand beside its score."""
    headline = " <strong>(headline)</strong>" if mode == metrics["headline"] else ""
    labels = _label_mode(mode, metrics, record)
    return escape(MODE_NAMES[mode]) + headline + (f"<br />{labels}" if labels else "")


def describe_comparison(metrics: Mapping[str, Any]) -> str:
    """Return what the scores of a val can be compared with. metrics: those of a run on it."""
    text = f"{metrics['val_bytes']:,} bytes, {metrics['val_tokens']:,} tokens"
    if metrics["comparable_with_fineweb"]:
        return f"Val is the challenge's FineWeb export ({text}): compare with scores on the whole of that text."
    return (
        f"Val is a text of its own ({text}): compare only with scores of exactly this text, document by document with "
        "golf compare, and never with scores on FineWeb."
    )


def _label_mode(mode: str, metrics: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """HTML of what must stand beside a mode's score: that it is invalid, or which method of it is disputed."""
    labels = [f'<span class="fail">{verdict.INVALID}</span>'] * _is_invalid(mode, metrics, record)
    for row in _find_disputed(mode, record):
        reason = f"{row['title']}, {row['note']} ({row['check']})"
        labels.append(f'<span class="unruled">disputed</span>: {escape(reason)}')
    return "; ".join(labels)


def _mark_mode(mode: str, evaluation: _Evaluation | None) -> str:
    """The same in a word or two, for legends."""
    if evaluation is None:
        return ""
    is_invalid, disputed = _is_invalid(mode, *evaluation), _find_disputed(mode, evaluation[1])
    return f", {verdict.INVALID}" * is_invalid + ", disputed" * bool(disputed)


def _is_invalid(mode: str, metrics: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    return record["verdict"].startswith(verdict.INVALID) or mode in metrics["invalid_modes"].split(", ")


def _find_disputed(mode: str, record: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of the verdict that are disputed and concern a mode."""
    return [
        row
        for row in record["checks"]
        if row["status"] == UNRULED and (mode == "ttt" or row["check"] != _LEARNING_CHECK)
    ]


def _format_error(value: float | None) -> str:
    return "" if value is None else f" ± {value:.4f}"


def _format_limit(name: str, used: float | None, allowed: float | None, spec: str) -> list[str]:
    is_over = used is not None and allowed is not None and used > allowed
    mark = '<span class="fail">OVER</span>' if is_over else ""
    return [name, format_figure(used, spec), "no limit" if allowed is None else format(allowed, spec), mark]


def render_scores_section(run: RunFiles, evaluation: _Evaluation | None) -> PageSection:
    """Return the bits per byte so far, and by position in the document, for each mode."""
    anchor, heading = "scores", "Scores along the text"
    columns = {"tokens": parse_non_negative_float, **dict.fromkeys(MODES, parse_finite_float)}
    rows = run.read_table("evaluate/running_bpb.csv", columns)
    figures = []
    labels = {mode: MODE_NAMES[mode] + _mark_mode(mode, evaluation) for mode in MODES}
    key = page.render_legend([labels[mode] for mode in MODES])
    if rows is not None:
        lines = [Series(labels[mode], tuple((row["tokens"], row[mode]) for row in rows)) for mode in MODES]
        title = "Bits per byte so far"
        x = svg.make_linear_axis("tokens of val scored so far", [row["tokens"] for row in rows], from_zero=True)
        y = svg.make_linear_axis("bpb up to there", [value for line in lines for _, value in line.points])
        caption = "Each point is the score over all of val up to there; the last one is the mode's score."
        figures.append(page.render_figure(title, svg.draw_line_chart("running-bpb", title, x, y, lines), caption, key))
    ledgers = _read_ledgers(run)
    if ledgers:
        names = [labels[mode] for mode in ledgers]
        lines = [
            Series(name, tuple(compute_bpb_by_position(data)), has_marks=True)
            for name, data in zip(names, ledgers.values(), strict=True)
        ]
        title = "Bits per byte by position in the document"
        x = svg.make_log_axis(
            "token of the document, from 1, in bins of double width", [p for line in lines for p, _ in line.points]
        )
        y = svg.make_linear_axis("bpb of the bin", [value for line in lines for _, value in line.points])
        caption = (
            "How much the text before helps. A bin's bpb is its bits over its bytes; the first bins hold few tokens."
        )
        figures.append(
            page.render_figure(
                title, svg.draw_line_chart("bpb-by-position", title, x, y, lines), caption, page.render_legend(names)
            )
        )
    missing = [] if rows is not None else [run.name("evaluate/running_bpb.csv")]
    missing += [] if ledgers else [run.name("evaluate/ledgers")]
    notes = "".join(page.render_not_run(f"{path} is missing", _EVALUATE_HINT) for path in missing)
    charts = f'<div class="charts">{"".join(figures)}</div>' if figures else ""
    return PageSection(anchor, heading, charts + notes)


def _read_ledgers(run: RunFiles) -> dict[str, LedgerData]:
    """The saved ledger of each mode that has one."""
    paths = {mode: run.folder / f"evaluate/ledgers/{mode}.safetensors" for mode in MODES}
    return {mode: ledger.read(path)[0] for mode, path in paths.items() if path.is_file()}


def compute_bpb_by_position(data: LedgerData) -> list[tuple[float, float]]:
    """Return (first position of the bin, bpb of its targets) for positions 1 to 3, 4 to 7, 8 to 15, … in a document.

    The first bin is not split, because a document's first target may be BOS, which has bits and no bytes. A bin whose
    targets have no bytes is left out.
    """
    lengths = np.diff(data.document_starts, append=len(data.nll))
    positions = np.arange(len(data.nll)) - np.repeat(data.document_starts, lengths) + 1
    bins = np.maximum(np.frexp(positions)[1], 2)  # the smallest exponent of a power of two above the position
    bits = np.bincount(bins, data.nll.astype(np.float64)) / math.log(2)
    n_bytes = np.bincount(bins, data.bytes.astype(np.float64))
    return [
        (1.0 if index == 2 else 2.0 ** (index - 1), float(bits[index] / n_bytes[index]))
        for index in np.flatnonzero(n_bytes).tolist()
    ]


def render_scoreboard_section(run: RunFiles, evaluation: _Evaluation | None) -> PageSection:
    """Return what else so many bytes could hold: the scores of the benchmark's rows by size of file."""
    anchor, heading = "scoreboard", "Scoreboard"
    board = run.read_scoreboard()
    if board is None:
        command = "measure it with: PYTHONPATH=. python benchmarks/scoreboard.py"
        return PageSection(
            anchor, heading, page.render_not_run("benchmarks/results/scoreboard.json is missing", command)
        )
    val = board["corpus"]["val"]
    text = (
        f"Every row was scored on the same val of {val['bytes']:,} bytes in {val['documents']} documents, on "
        f"{board['machine']}. The bytes count the weights, or the compressed train text that primes a compressor, and "
        "the code that is not a library. golf's rows are of the run that was committed when they were measured. "
    )
    metrics = evaluation[0] if evaluation else None
    is_same_val = metrics is not None and metrics["val_bytes"] == val["bytes"]
    if is_same_val:
        text += "The val of this run has as many bytes."
    elif metrics is not None:
        text += f"The val of this run is another ({metrics['val_bytes']:,} bytes): do not compare its score with these."
    sized = [row for row in board["rows"] if row["limit_bytes"] is not None and row["minutes"] is None]
    measured = [row | {"name": _name_row(row)} for row in sized if row["status"] == "ok"]
    cells = [
        [
            f"{row['limit_bytes']:,}",
            escape(_name_row(row)),
            f"{row['total_bytes']:,}" if row["status"] == "ok" else NOT_RUN,
            f"{row['bpb']:.4f}" if row["status"] == "ok" else NOT_RUN,
        ]
        for row in sorted(sized, key=lambda row: (row["limit_bytes"], row.get("bpb") or math.inf))
    ]
    rows = page.render_table(("limit, bytes", "coder", "bytes", "bpb of val"), cells, numbers=(0, 2, 3))
    body = page.render_paragraph(text)
    if not measured:
        return PageSection(
            anchor, heading, body + page.render_not_run("no row was measured", "run benchmarks/scoreboard.py") + rows
        )
    lines = [
        Series(name, tuple(sorted((row["total_bytes"] / 1e6, row["bpb"]) for row in group)), has_marks=True)
        for name, group in group_by(measured, "name").items()
    ]
    if metrics is not None and is_same_val:
        headline = metrics["headline"]
        point = (metrics["artifact_bytes"] / 1e6, metrics["val_bpb"])
        lines.append(Series(f"this run, {headline}{_mark_mode(headline, evaluation)}", (point,), has_marks=True))
    title = "Bits per byte by size of file"
    x = svg.make_log_axis("all bytes, MB (10⁶), logarithmic", [px for line in lines for px, _ in line.points])
    y = svg.make_linear_axis("bpb of val", [py for line in lines for _, py in line.points])
    chart = svg.draw_line_chart("scoreboard-chart", title, x, y, lines)
    key = page.render_legend([line.name for line in lines])
    return PageSection(
        anchor, heading, body + page.render_figure(title, chart, "Lower and further left is better.", key) + rows
    )


def _name_row(row: Mapping[str, Any]) -> str:
    return f"{row['title']}, {row['mode']}" if row["mode"] else row["title"]


def render_verdict_section(run: RunFiles, evaluation: _Evaluation | None) -> PageSection:
    """Return every check with its status, what was measured, its limit and the reason."""
    anchor, heading = "verdict", "Verdict and evidence"
    if evaluation is None:
        missing = f"{run.name('evaluate/verdict.json')} is missing"
        return PageSection(anchor, heading, page.render_not_run(missing, _EVALUATE_HINT))
    record = evaluation[1]
    statuses = [row["status"] for row in record["checks"]]
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in ("PASS", "FAIL", UNRULED, NOT_RUN))
    parts = [
        page.render_paragraph(f"{record['verdict']}."),
        page.render_paragraph(f"{counts}. Predictor {record['predictor']}, track {record['track']}, artifact sha256 "
                       f"{record['artifact_sha256'][:12]}. The score, sizes and digests were computed again from the "
                       "ledgers when this page was made. Each check: docs/evaluation-rules.md."),
    ]  # fmt: skip
    rows = [
        [
            f"<code>{escape(row['check'])}</code>",
            page.render_status(row["status"]),
            escape(row["title"]),
            escape(row["measured"]),
            escape(row["limit"]),
            escape(row["note"]),
        ]
        for row in record["checks"]
    ]
    parts.append(page.render_table(("check", "status", "question", "measured", "limit", "note"), rows, stacks=True))
    return PageSection(anchor, heading, "".join(parts))
