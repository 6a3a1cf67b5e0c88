"""Tables and pictures of the scoreboard, from ``scoreboard.json``; NOT-RUN for what it lacks."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from golf.artifacts import io, json_records
from golf.errors import UnavailableError
from golf.evaluation.significance import PairedDifference, estimate_ratio

__all__ = [
    "BYTES_PICTURE",
    "MINUTES_PICTURE",
    "RESULTS_FILE",
    "Row",
    "draw_pictures",
    "format_line",
    "merge_rows",
    "render_summary",
    "render_table",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS_FILE = "scoreboard.json"
BYTES_PICTURE, MINUTES_PICTURE = "scoreboard_bytes.png", "scoreboard_minutes.png"
_NOT_RUN = "NOT-RUN"
_DPI = 100
_OWN_CODERS = ("golf", "encode")
_MIN_SECONDS = 0.1  # a coder that trained for less is drawn there
_HEADER = (
    "| | bytes | bpb | clean bpb | minus {reference} | train s | score s | peak memory | chosen on dev |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
_SUMMARY_ROWS = (
    "golf",
    "PPMd var. H",
    "PPMd var. I",
    "ZPAQ",
    "modified Kneser-Ney, order 5",
    "plain GPT, AdamW",
)
_HIDDEN_SETTINGS = ("variant", "prime_bytes", "memory_bytes", "ngrams", "bits_per_weight")

Row = dict[str, Any]


def render_table(folder: Path) -> str:
    """Markdown: every row by size of file, then by training time. folder: of scoreboard.json.

    The difference to golf's headline at the same size is paired by document, with its interval at 95 %.
    """
    results = _load(folder)
    if results is None:
        return f"The scoreboard: {_NOT_RUN}.\n"
    rows, corpus = results["rows"], results["corpus"]
    main_run = _find_main_run(rows)
    lines = [
        f"Val: {corpus['val']['bytes']:,} bytes in {corpus['val']['documents']} documents, "
        f"{_format_count(corpus['clean_bytes'])} of them clean. Machine: {results['machine']}, "
        f"{results['threads']} threads.",
    ]
    groups: dict[tuple[Any, Any], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["limit_bytes"], row["minutes"]), []).append(row)
    for (limit_bytes, minutes), members in sorted(groups.items(), key=lambda item: _sort_key(*item[0])):
        reference = _find_reference(results, limit_bytes, minutes)
        title = "No prime" if limit_bytes is None else f"At most {limit_bytes:,} bytes"
        title += "" if minutes is None else f", {minutes:g} minutes of training"
        lines += ["", f"{title}:", "", _HEADER.format(reference=" ".join(results["reference"]))]
        lines += [_format_row(row, reference, corpus, main_run) for row in members]
    if any(row["status"] == "ok" and row["run"] != main_run for row in rows):
        lines += ["", "Seconds in parentheses were measured by another run of the command: don't compare them."]
    return "\n".join([*lines, ""])


def render_summary(folder: Path) -> str:
    """Markdown for README: bpb of the main rows by size of file, and golf's headline over the best other row.

    A row of fewer bytes fits too: a longer prime may make a compressor worse.
    """
    results = _load(folder)
    if results is None:
        return f"The scoreboard: {_NOT_RUN}.\n"
    rows = [row for row in results["rows"] if row["minutes"] is None and row["limit_bytes"] is not None]
    limits = sorted({row["limit_bytes"] for row in rows})
    lines = [f"| bpb of val | {' | '.join(f'{limit:,} bytes' for limit in limits)} |", "|---" * (len(limits) + 1) + "|"]
    for title in _SUMMARY_ROWS:
        by_name: dict[str, dict[int, Row]] = {}
        for row in rows:
            if row["title"] == title:
                by_name.setdefault(_name(row), {})[row["limit_bytes"]] = row
        names = [name for name, found in by_name.items() if any(row["status"] == "ok" for row in found.values())]
        for name in names or [title]:
            found = by_name.get(name, {})
            cells = [_format_bpb(found[limit].get("bpb")) if limit in found else "" for limit in limits]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    others = [row for row in rows if row["status"] == "ok" and row["coder"] not in _OWN_CODERS]
    ratios = [
        _format_ratio(_find_reference(results, limit, None), [row for row in others if row["limit_bytes"] <= limit])
        for limit in limits
    ]
    lines.append(f"| {' '.join(results['reference'])} / the best other row | {' | '.join(ratios)} |")
    return "\n".join([*lines, ""])


def format_line(key: str, row: Row) -> str:
    """A row as one line of progress."""
    if row["status"] != "ok":
        return f"{key:<24} {_NOT_RUN}: {row['reason']}"
    clean = "" if row["clean_bpb"] is None else f"  clean {row['clean_bpb']:.4f}"
    return f"{key:<24} {row['mode']:<8} {row['bpb']:.4f} bpb{clean}  {row['total_bytes']:,} bytes"


def merge_rows(folder: Path, corpus: dict[str, Any], rows: list[Row]) -> list[Row]:
    """Add the rows of the scoreboard.json in ``folder`` that ``rows`` does not measure, if its corpus is the same.

    In the order of coder, training time and size of file.
    """
    earlier = _load(folder)
    if earlier is None or earlier["corpus"] != corpus:
        return rows
    jobs = {_identify_job(row) for row in rows}
    merged = rows + [row for row in earlier["rows"] if _identify_job(row) not in jobs]
    coders = list(dict.fromkeys(row["coder"] for row in [*earlier["rows"], *rows]))
    return sorted(
        merged,
        key=lambda row: (coders.index(row["coder"]), _sort_key(row["limit_bytes"], row["minutes"])),
    )


def _identify_job(row: Row) -> tuple[Any, ...]:
    return row["coder"], row["limit_bytes"], row["minutes"]


def draw_pictures(folder: Path) -> list[Path]:
    """Draw bpb against bytes, and against minutes of training, beside scoreboard.json; the paths of the pictures.

    Raises UnavailableError without matplotlib.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError(
            "the pictures need matplotlib, which is not installed; install it with: pip install -e '.[dev]'"
        ) from None
    results = _load(folder)
    if results is None:
        return []
    pictures: list[tuple[str, Callable[[Axes, dict[str, Any]], bool]]] = [
        (BYTES_PICTURE, _draw_bytes),
        (MINUTES_PICTURE, _draw_minutes),
    ]
    paths = []
    for name, draw in pictures:
        with style.context("default"):
            figure: Figure = Figure(figsize=(9, 5), layout="constrained")
            if not draw(figure.subplots(), results):
                continue
            figure.legend(loc="outside right upper")
            with io.atomic_write(folder / name) as partial_path:
                figure.savefig(partial_path, format="png", dpi=_DPI, metadata={"Software": None})
        paths.append(folder / name)
    return paths


def _draw_bytes(axes: "Axes", results: dict[str, Any]) -> bool:
    """One line for each coder and mode; False if there is no row."""
    curves = _group_curves(results["rows"], lambda row: row["minutes"] is None and row["limit_bytes"] is not None)
    for index, (name, points) in enumerate(curves.items()):
        points.sort(key=lambda row: row["total_bytes"])
        sizes, scores = [row["total_bytes"] / 1e6 for row in points], [row["bpb"] for row in points]
        axes.plot(sizes, scores, marker="o", label=name, **_line_style(index, points[0]))
    limits = sorted({row["limit_bytes"] for points in curves.values() for row in points})
    axes.set_xscale("log")
    axes.set_xticks([limit / 1e6 for limit in limits], labels=[f"{limit / 1e6:g}" for limit in limits])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="model and code, MB (10⁶ bytes)", ylabel="bits per byte of val")
    axes.grid(color="0.9")
    return bool(curves)


def _draw_minutes(axes: "Axes", results: dict[str, Any]) -> bool:
    """Lines for what was trained for several times, and a point for each other coder at the same size."""
    trained = _group_curves(results["rows"], lambda row: row["minutes"] is not None)
    limits = {row["limit_bytes"] for points in trained.values() for row in points}
    for index, (name, points) in enumerate(trained.items()):
        points.sort(key=lambda row: row["build_seconds"])
        minutes, scores = [row["build_seconds"] / 60 for row in points], [row["bpb"] for row in points]
        axes.plot(minutes, scores, marker="o", label=name, **_line_style(index, points[0]))
    names = {row["coder"] for points in trained.values() for row in points} | {*_OWN_CODERS}
    others = _group_curves(results["rows"], lambda row: row["limit_bytes"] in limits and row["coder"] not in names)
    for index, (name, (row, *_)) in enumerate(others.items(), len(trained)):
        minutes = max(row["build_seconds"], _MIN_SECONDS) / 60
        axes.plot([minutes], [row["bpb"]], marker="x" if index < 10 else "+", ls="", color=f"C{index}", label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(xlabel="minutes of training", ylabel="bits per byte of val")
    axes.grid(color="0.9")
    return bool(trained)


def _line_style(index: int, row: Row) -> dict[str, Any]:
    """Ten colors, then the same ones dashed; golf is thicker."""
    return {"color": f"C{index}", "ls": "-" if index < 10 else "--", "lw": 2.5 if row["coder"] == "golf" else 1}


def _group_curves(rows: Iterable[Row], is_shown: Callable[[Row], bool]) -> dict[str, list[Row]]:
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "ok" and is_shown(row):
            curves.setdefault(_name(row), []).append(row)
    return curves


def _load(folder: Path) -> dict[str, Any] | None:
    path = folder / RESULTS_FILE
    return (
        json_records.read_record(path, rows=list, corpus=dict, reference=list, machine=str) if path.is_file() else None
    )


def _sort_key(limit_bytes: int | None, minutes: float | None) -> tuple[float, float]:
    return (minutes or 0.0, limit_bytes or 0)


def _name(row: Row) -> str:
    return f"{row['title']}, {row['mode']}" if row.get("mode") else row["title"]


def _find_main_run(rows: list[Row]) -> str | None:
    counts = Counter(row["run"] for row in rows if row["status"] == "ok")
    return counts.most_common(1)[0][0] if counts else None


def _find_reference(results: dict[str, Any], limit_bytes: int | None, minutes: float | None) -> Row | None:
    coder, mode = results["reference"]
    wanted = {"coder": coder, "mode": mode, "limit_bytes": limit_bytes, "minutes": minutes, "status": "ok"}
    matches = [row for row in results["rows"] if all(row.get(key) == value for key, value in wanted.items())]
    return matches[0] if matches else None


def _format_row(row: Row, reference: Row | None, corpus: dict[str, Any], main_run: str | None) -> str:
    if row["status"] != "ok":
        reason = row["reason"].replace("|", "/")
        return f"| {row['title']} | {' | '.join([_NOT_RUN] * 7)} | {reason} |"
    seconds = [f"{row[key]:,.1f}" for key in ("build_seconds", "score_seconds")]
    if row["run"] != main_run:
        seconds = [f"({value})" for value in seconds]
    cells = [
        _name(row),
        f"{row['total_bytes']:,}",
        _format_bpb(row["bpb"]),
        _format_bpb(row["clean_bpb"]),
        _format_difference(row, reference, corpus),
        *seconds,
        f"{row['score_peak_bytes'] / 1e6:,.0f} MB",
        ", ".join(f"{k} {v}" for k, v in row["settings"].items() if v is not None and k not in _HIDDEN_SETTINGS),
    ]
    return f"| {' | '.join(cells)} |"


def _format_difference(row: Row, reference: Row | None, corpus: dict[str, Any]) -> str:
    if row is reference:
        return ""
    if reference is None or row["document_bits"] is None or reference["document_bits"] is None:
        return _NOT_RUN
    bits = np.subtract(row["document_bits"], reference["document_bits"])
    difference = PairedDifference(bits, np.array(corpus["val_document_bytes"])).bpb_difference
    interval = "" if difference.half_width is None else f" ± {difference.half_width:.4f}"
    return f"{difference.value:+.4f}{interval}"


def _format_ratio(reference: Row | None, others: list[Row]) -> str:
    """The reference's bits over those of the best row, with an interval over documents where both have them."""
    if reference is None or not others:
        return _NOT_RUN
    best = min(others, key=lambda row: row["bpb"])
    if reference["document_bits"] is None or best["document_bits"] is None:
        return f"{reference['bpb'] / best['bpb']:.3f}"
    ratio = estimate_ratio(np.array(reference["document_bits"]), np.array(best["document_bits"]))
    return f"{ratio.value:.3f}" + ("" if ratio.half_width is None else f" ± {ratio.half_width:.3f}")


def _format_bpb(value: float | None) -> str:
    return _NOT_RUN if value is None else f"{value:.4f}"


def _format_count(value: int | None) -> str:
    return _NOT_RUN if value is None else f"{value:,}"
