"""The Markdown tables of ``record_run``'s JSON, for docs/performance.md; what was not measured says NOT-RUN."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import record_forecast
from rate_curves import ByteRatio, format_ratio

from golf.artifacts import io

__all__ = ["render_tables"]

_NOT_RUN, _NO_FIGURE = "NOT-RUN", "outside the range"
_MAX_LOSS_ROWS = 12
_RECIPE_NAMES = {
    "row": "record's grid (SDClip)",
    "tuned": "the same, clips tuned",
    "scalar": "row_column, scalar",
    "trellis": "row_column, trellis",
}
_STEP_NAMES = {
    "published": "record's grid, Brotli",
    "coder": "record's grid, our coder",
    "clips": "the same, clips tuned",
    "scalar": "row_column, scalar",
    "trellis": "row_column, trellis",
}


def render_tables(result: Mapping[str, Any]) -> str:
    """The whole text: what was run and the note, then stages, loss, forecast, scores, recipes, coders."""
    parts = [
        _describe_run(result),
        _render_stages(result["stages"]),
        _render_loss(result["loss"]),
        _render_forecast(result["forecast"]),
        _render_scores(result.get("metrics"), result.get("verdict")),
        *_render_recipes(result["recipes"]),
        _render_coders(result["coder"]),
    ]
    return "\n\n".join(parts) + "\n"


def _describe_run(result: Mapping[str, Any]) -> str:
    steps, seconds = result.get("steps"), result.get("train_seconds")
    trained = _NOT_RUN if steps is None else f"{steps:,} steps in {seconds:,.0f} s"
    return f"{result['machine']}, {result['threads']} threads, profile {result['profile']}: {trained}. {result['note']}"


def _render_stages(stages: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            _format(row["seconds"], ",.0f"),
            _format(row["cpu_seconds"], ",.0f"),
            _format(row["peak_bytes"], ",.2f", 1e-9),
            "" if row["status"] == "ok" else row["status"],
        )
        for name, row in stages.items()
    ]
    return _table(("stage", "seconds", "CPU seconds", "peak memory, GB", ""), rows)


def _render_loss(loss: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """At most _MAX_LOSS_ROWS of dev's rows, the last among them, each with the loss of train at that step."""
    train = {row["step"]: row["loss"] for row in loss["train"]}
    every = -(-len(loss["dev"]) // _MAX_LOSS_ROWS) or 1
    rows = [
        (
            f"{row['step']:,}",
            f"{row['seconds']:,.0f}",
            _format(train.get(row["step"]), ".4f"),
            f"{row['dev_loss']:.4f}",
        )
        for row in loss["dev"][::-every][::-1]
    ]
    return _table(("step", "seconds", "loss of its batch, nats per token", "loss of dev"), rows or [[_NOT_RUN] * 4])


def _render_forecast(rows: Sequence[Mapping[str, Any]] | None) -> str:
    cells = [record_forecast.format_row(dict(row)) for row in rows or ()] or [("golf preflight", *[_NOT_RUN] * 2, "")]
    return _table(("figure", "forecast", "measured", "difference"), cells)


def _render_scores(metrics: Mapping[str, Any] | None, verdict: Mapping[str, Any] | None) -> str:
    """Scores of the file's three modes, and what its proof took and found."""
    metrics = metrics or {}
    rows = [
        (
            record_forecast.MODE_NAMES[mode],
            _format(metrics.get(f"val_bpb_{mode}"), ".4f"),
            _format(metrics.get(f"seconds_{mode}"), ",.0f"),
        )
        for mode in record_forecast.MODE_NAMES
    ]
    for name, key in (("predictions", "proof"), ("learning again", "proof_replay"), ("ablations", "probe")):
        rows.append((f"proof: {name}", "", _format(metrics.get(f"{key}_seconds"), ",.0f")))
    size, limit = metrics.get("artifact_bytes"), metrics.get("limit_bytes")
    unused = _NOT_RUN if size is None else f"{size:,} of {limit:,} bytes, {1 - size / limit:.3%} unused"
    summary = _NOT_RUN if verdict is None else f"{verdict['summary']} ({verdict['counts']})"
    return _table(("scored", "bpb of val", "seconds"), rows) + f"\n\nThe file: {unused}. Verdict: {summary}."


def _render_recipes(recipes: Mapping[str, Any] | None) -> list[str]:
    if recipes is None:
        return [f"Recipes at equal divergence: {_NOT_RUN}."]
    points = [
        (
            _RECIPE_NAMES[row["recipe"]],
            row["setting"],
            ", ".join(f"{size:,} ({codec})" for codec, size in row["bytes"].items()),
            f"{row['kl']:.3e}",
            _format_increase(row),
        )
        for row in recipes["points"]
    ]
    at_limit = [
        (
            _RECIPE_NAMES[row["recipe"]],
            f"{row['bytes']:,} of {row['max_bytes']:,}",
            f"{row['unused_frac']:.3%}",
            str(row["n_solves"]),
            f"{row['seconds']:,.0f}",
            f"{row['kl']:.3e}",
            _format_increase(row),
        )
        for row in recipes["at_limit"]
    ]
    comparisons = recipes["comparisons"]
    clips = [f"clips {row['setting']}, KL {row['kl']:.2e}" for row in comparisons]
    ratios = [
        (name, *(format_ratio(ByteRatio(**row["ratios"][name])) for row in comparisons))
        for name in (comparisons[0]["ratios"] if comparisons else ())
    ]
    fits = [
        (
            _STEP_NAMES[name],
            f"{rows[0]['code_bytes']:,}",
            *(
                _NO_FIGURE if row["weights"] is None else f"{row['weights']:,} ({row['bytes_per_weight']:.4f})"
                for row in rows
            ),
        )
        for name, rows in io.group_by(recipes["weights_that_fit"], "recipe").items()
    ]
    increase = "increase in bpb"
    return [
        f"{recipes['targets']:,} targets of val in {recipes['documents']} documents; intervals of 95 % over documents.",
        _table(("recipe", "clips or base step", "bytes", "KL, nats per token", increase), points),
        _table(("fills the limit", "bytes", "unused", "solves", "seconds", "KL", increase), at_limit),
        "Bytes over bytes at the divergence of the record's grid with these clips:",
        _table(("recipe / recipe", *clips), ratios),
        "Weights that fit the limit beside the code, with bytes a weight, at these divergences:",
        _table(("recipe", "code bytes", *clips), fits),
    ]


def _render_coders(rows: Sequence[Mapping[str, Any]] | None) -> str:
    """Totals over the sections of the run's codes."""
    cells = []
    for name in ("brotli", "lzma", "zstd", "ours"):
        columns = [[row[name][key] for row in rows or ()] for key in ("bytes", "encode_s", "decode_s")]
        totals = [sum(column) if column else None for column in columns]
        cells.append((name, _format(totals[0], ","), _format(totals[1], ",.1f"), _format(totals[2], ",.1f")))
    return _table(("coder, on the codes of the file", "bytes", "encoding, s", "decoding, s"), cells)


def _format_increase(row: Mapping[str, Any]) -> str:
    half_width = "" if row["half_width"] is None else f" ± {row['half_width']:.4f}"
    return f"{row['bpb_increase']:+.4f}{half_width}"


def _format(value: float | None, spec: str, factor: float = 1) -> str:
    return _NOT_RUN if value is None else format(value if factor == 1 else value * factor, spec)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
