"""Sections on bytes: bits of each tensor, what fills the file, and bytes against loss."""

from collections.abc import Callable
from html import escape
from typing import Any

from golf.artifacts.io import group_by, parse_non_negative_float
from golf.cli.report import page, svg
from golf.cli.report.page import PageSection
from golf.cli.report.run_files import RunFiles, Table
from golf.cli.report.svg import Bar, Series

__all__ = ["render_bytes_section", "render_rate_distortion_section", "render_tensor_bits_section"]

_NOISE_BPB = 1e-4  # a smaller loss is within noise, and a logarithmic axis has no place for it
_MAX_BARS = 90  # tensors in the chart; the table has them all


def render_tensor_bits_section(run: RunFiles) -> PageSection:
    """Return the bits of each quantized tensor, with its error against rounding to nearest."""
    anchor, heading = "bits", "Bits by tensor"
    columns: dict[str, Callable[[str], Any]] = {
        "tensor": str,
        "kind": str,
        "weights": int,
        "bits_per_weight": parse_non_negative_float,
        "entropy_bytes": int,
        "error_vs_rtn": parse_non_negative_float,
    }
    rows = run.read_table("quantize/tensors.csv", columns)
    if rows is None:
        hint = "write it with: dvc repro quantize"
        return PageSection(anchor, heading, page.render_not_run(f"{run.name('quantize/tensors.csv')} is missing", hint))
    kinds = list(group_by(rows, "kind"))
    bars = [
        Bar(_shorten(row["tensor"]), row["bits_per_weight"], f"{row['bits_per_weight']:.2f} bits", _index(kinds, row))
        for row in rows[:_MAX_BARS]
    ]
    axis = svg.make_linear_axis("bits per weight", [row["bits_per_weight"] for row in rows], from_zero=True)
    n_weights = sum(row["weights"] for row in rows)
    mean_bits = sum(row["bits_per_weight"] * row["weights"] for row in rows) / max(1, n_weights)
    caption = (
        f"Order-0 entropy of the integer codes, {mean_bits:.3f} bits per weight over {n_weights:,} weights: what an "
        "ideal coder that knows each tensor's histogram needs. The packed file is smaller where its coder knows more."
    )
    if len(rows) > _MAX_BARS:
        caption += f" The first {_MAX_BARS} of {len(rows)} tensors are drawn."
    title = "Bits per weight of each tensor"
    chart = svg.draw_bar_chart("bits-by-tensor", title, axis, bars)
    cells = [
        [
            f"<code>{escape(row['tensor'])}</code>",
            f"{row['weights']:,}",
            f"{row['bits_per_weight']:.3f}",
            f"{row['entropy_bytes']:,}",
            f"{row['error_vs_rtn']:.3f}",
        ]
        for row in rows
    ]
    header = ("tensor", "weights", "bits per weight", "bytes at the entropy", "output error / rounding to nearest")
    all_rows = page.render_details(f"All {len(rows)} tensors", page.render_table(header, cells, numbers=(1, 2, 3, 4)))
    key = page.render_legend(kinds, has_lines=False)
    return PageSection(anchor, heading, page.render_figure(title, chart, caption, key) + all_rows)


def _index(kinds: list[str], row: dict[str, str]) -> int:
    return kinds.index(row["kind"])


def _shorten(name: str) -> str:
    """A tensor's or a section's name without the words that all of them have, in at most 19 characters."""
    short = name.replace(".weight", "").replace(".codes", "")
    return short if len(short) <= 19 else f"…{short[-18:]}"


def render_bytes_section(run: RunFiles) -> PageSection:
    """Return what fills the size limit, part by part."""
    anchor, heading = "bytes", "Where the bytes went"
    sizes_and_rows = run.read_sizes()
    if sizes_and_rows is None:
        hint = "write it with: dvc repro compress"
        return PageSection(anchor, heading, page.render_not_run(f"{run.name('compress/sizes.json')} is missing", hint))
    sizes, rows = sizes_and_rows
    limit = max(1, sizes["limit_bytes"])
    styles = {"code": 1, "headroom": 6}
    bars = [
        Bar(
            _shorten(row["part"]),
            row["bytes"] / 1e3,
            f"{row['bytes']:,} B, {row['bytes'] / limit:.1%}",
            styles.get(row["part"], 0),
        )
        for row in rows
    ]
    axis = svg.make_linear_axis("kB (10³ bytes)", [bar.value for bar in bars], from_zero=True)
    title = f"Parts of the limit of {sizes['limit_bytes']:,} bytes"
    chart = svg.draw_bar_chart("bytes-by-part", title, axis, bars)
    caption = (
        f"Model {sizes['payload_bytes']:,} and code {sizes['code_bytes']:,} bytes are {sizes['artifact_bytes']:,} of "
        f"{sizes['limit_bytes']:,}; {sizes['headroom_bytes']:,} bytes are free. # stands for the number of each layer. "
        "The code is the predictor's import closure, minified and packed. The tokenizer is not counted, as in the "
        "contest."
    )
    key = page.render_legend(["model", "code"], has_lines=False)
    return PageSection(anchor, heading, page.render_figure(title, chart, caption, key))


def render_rate_distortion_section(run: RunFiles) -> PageSection:
    """Return the bytes of the model file against the loss by quantization, for each recipe measured."""
    anchor, heading = "rate-distortion", "Rate–distortion"
    points_and_measure = run.read_rate_distortion()
    if points_and_measure is None:
        command = "PYTHONPATH=. python benchmarks/rate_distortion.py laptop=FOLDER --csv FILE"
        missing = "benchmarks/results/rate_distortion.csv is missing"
        return PageSection(anchor, heading, page.render_not_run(missing, f"measure it with: {command}"))
    points, is_kl = points_and_measure
    figures = [
        _draw_rate_distortion(f"rate-distortion-{number}", name, run_points, is_kl)
        for number, (name, run_points) in enumerate(group_by(points, "run").items())
    ]
    text = (
        "Measured by benchmarks/rate_distortion.py on the models that the headings name, which need not be this run. "
        "Each line quantizes one model with one recipe at several settings: lower and further left is better. Compare "
        "lines of one picture alone"
    )
    text += "." if is_kl else ", and no loss under 0.0005 bpb, which is noise at these sizes."
    if any(row["recipe"].startswith("baseline") for row in points):
        text += (
            " The recipe baseline has the record's clips, not tuned for these models, so it is no measure of the best "
            "that its method can do: with tuned clips the difference is smaller (benchmarks/README.md)."
        )
    body = page.render_paragraph(text) + f'<div class="charts">{"".join(figures)}</div>'
    return PageSection(anchor, heading, body)


def _draw_rate_distortion(chart_id: str, name: str, points: Table, is_kl: bool) -> str:
    smallest = 0.0 if is_kl else _NOISE_BPB
    visible = [row for row in points if row["loss"] > smallest and row["bytes"] > 0]
    if not visible:
        return page.render_not_run(f"{name}: no point loses more than {smallest:g}", "measure coarser settings")
    lines = [
        Series(recipe, tuple((row["bytes"] / 1e6, row["loss"]) for row in rows), has_marks=True)
        for recipe, rows in group_by(visible, "recipe").items()
    ]
    x = svg.make_log_axis("model file, MB (10⁶ bytes)", [row["bytes"] / 1e6 for row in visible])
    label = "KL from full precision, nats per token" if is_kl else "loss by quantization, bits per byte"
    y = svg.make_log_axis(label, [row["loss"] for row in visible])
    n_hidden = len(points) - len(visible)
    hidden_text = f" Not drawn, with a loss of at most {smallest:g}: {n_hidden}." if n_hidden else ""
    caption = f"{len(points)} points of {name}; both axes are logarithmic.{hidden_text}"
    chart = svg.draw_line_chart(chart_id, f"Bytes against loss, {name}", x, y, lines)
    return page.render_figure(name, chart, caption, page.render_legend([line.name for line in lines]))
