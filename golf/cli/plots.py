"""PNG pictures of what the stages and the benchmark measured, for reports and pull requests.

Each is drawn from one table and from nothing else. The same table gives the same bytes, without a display too:
matplotlib's own style on its Agg canvas, whatever a matplotlibrc says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from golf.artifacts import io
from golf.artifacts.csv_table import group_by, parse_finite, parse_non_negative, read_csv
from golf.errors import InputError, UnavailableError

_RATE_DISTORTION_COMMAND, _RATE_DISTORTION_CSV = (
    "python benchmarks/rate_distortion.py",
    "benchmarks/results/rate_distortion.csv",
)
_DPI, _BAR_INCHES, _PANEL_INCHES = 100, 0.25, 5.5  # an inch; inches of a bar's height, of a panel's width
_LOG_TICKS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # of a decade, each at most 1.5 times the one before
_COARSE_LOG_TICKS = (1, 2, 5)  # where there is more than one decade
_NOISE_BPB = 1e-4  # bpb: a smaller loss is chance
_FIXED_COLORS = {"code": "black", "headroom": "white"}  # of the limit, what is no part of the model


@dataclass(frozen=True)
class _Plot:
    """file: its name. draw: puts the table's rows on a figure. columns: those it reads, and each cell's reader.

    writer: the command that writes the table.
    """

    file_name: str
    draw: Callable
    table_path: str
    columns: dict[str, Callable]
    command: str


def draw_plots(folder: Path) -> str:
    """Draw into ``folder`` every picture whose table is there, and say in a line for each whether it is drawn.

    Raises Unavailable without matplotlib, BadArtifact for a damaged table, BadInput for a folder that can't be made.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError("matplotlib: not installed, golf plot draws with it; pip install -e '.[dev]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: no folder can be made there ({error.strerror}); name another") from None
    lines = []
    for spec in PLOTS:
        if not Path(spec.table_path).exists():
            lines.append(f"{spec.file_name}: not drawn, no {spec.table_path}; written by: {spec.command}")
            continue
        rows = read_csv(spec.table_path, spec.columns)
        with style.context("default"), io.atomic_write(folder / spec.file_name) as partial_path:
            figure = Figure(layout="constrained")
            spec.draw(figure, rows)
            figure.savefig(partial_path, format="png", dpi=_DPI, metadata={"Software": None})
        lines.append(f"{folder / spec.file_name}")
    return "\n".join(lines)


def _draw_rate_distortion(figure, rows: list[dict]) -> None:
    """A panel a run, a line a recipe; dashed, what the last recipe's file would weigh at its codes' order-0 entropy."""
    runs = group_by(rows, "run")
    figure.set_size_inches(_PANEL_INCHES * len(runs), 4.5)
    for axes, (run, points) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        visible = [point for point in points if point["lost"] >= _NOISE_BPB and min(point["bytes"], point["ideal"]) > 0]
        for recipe, curve in group_by(visible, "recipe").items():
            axes.loglog(_to_megabytes(curve, "bytes"), [p["lost"] for p in curve], marker="o", label=recipe)
        last_points = [point for point in visible if point["recipe"] == points[-1]["recipe"]]
        line_style = {"color": "black", "ls": "--", "label": f"{points[-1]['recipe']}: order-0 entropy"}
        axes.loglog(_to_megabytes(last_points, "ideal"), [p["lost"] for p in last_points], **line_style)
        if visible:
            set_log_ticks(axes.xaxis, _to_megabytes(visible, "bytes") + _to_megabytes(last_points, "ideal"))
            set_log_ticks(axes.yaxis, [p["lost"] for p in visible])
        n_hidden = len(points) - len(visible)
        axes.set_title(run + (f" (not drawn, under {_NOISE_BPB:g} bpb: {n_hidden})" if n_hidden else ""))
        axes.set(xlabel="model file, MB (10⁶ bytes)", ylabel="lost by quantisation, bits per byte")
        axes.grid(color="0.9")
    lines, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3)


def _to_megabytes(rows: list[dict], key: str) -> list[float]:
    return [row[key] / 1e6 for row in rows]


def set_log_ticks(axis, values: list[float]) -> None:
    """Limits a little beyond the values, and plain numbers between them, at least one whatever the values."""
    low, high = min(values) / 1.25, max(values) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    steps = _LOG_TICKS if high / low < 10 else _COARSE_LOG_TICKS
    ticks = [step * 10**decade for decade in decades for step in steps if low <= step * 10**decade <= high]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})


def _draw_bits_by_tensor(figure, rows: list[dict]) -> None:
    """A bar a tensor, a colour a class."""
    figure.set_size_inches(8, 1.2 + _BAR_INCHES * len(rows))
    axes = figure.subplots()
    for class_name, class_rows in group_by(rows, "class").items():
        axes.barh([row["name"] for row in class_rows], [row["bits"] for row in class_rows], label=class_name)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("bits a weight, order-0 entropy of the codes")
    figure.legend(loc="outside upper right", ncols=2)


def _draw_bits_by_column(figure, rows: list[dict]) -> None:
    """A thin line a tensor; a thick one the mean over a class."""
    figure.set_size_inches(8, 4.5)
    axes = figure.subplots()
    for index, (class_name, class_rows) in enumerate(group_by(rows, "class").items()):
        for tensor_rows in group_by(class_rows, "tensor").values():
            axes.plot(
                [p["group"] for p in tensor_rows],
                [p["bits"] for p in tensor_rows],
                color=f"C{index}",
                alpha=0.3,
                lw=0.8,
            )
        means = {
            group: fmean(p["bits"] for p in group_rows)
            for group, group_rows in sorted(group_by(class_rows, "group").items())
        }
        axes.plot(means.keys(), means.values(), color=f"C{index}", lw=2.5, label=f"{class_name}, mean over tensors")
    axes.set_xlabel("sixteenth of the columns, by falling step (row grid: by falling diagonal of the Hessian)")
    axes.set_ylabel("bits a weight, order-0 entropy of the codes")
    axes.legend()


def _draw_size_bar(figure, rows: list[dict]) -> None:
    """One bar, the limit, part by part."""
    figure.set_size_inches(9, 1.6 + _BAR_INCHES * len(rows))
    axes, total_bytes, start_bytes = figure.subplots(), sum(row["bytes"] for row in rows), 0.0
    for index, row in enumerate(rows):
        label = f"{row['part']}: {row['bytes']:,.0f} bytes, {row['bytes'] / max(1, total_bytes):.1%}"
        bar_style = {
            "color": _FIXED_COLORS.get(row["part"], f"C{index}"),
            "hatch": "//" * (index >= 10),
        }  # C10 is C0 again
        bar_style |= {"edgecolor": "black", "lw": 0.5, "label": label}
        axes.barh(0, row["bytes"] / 1e6, left=start_bytes / 1e6, **bar_style)
        start_bytes += row["bytes"]
    axes.set_yticks([])
    axes.margins(x=0)
    axes.set_xlabel("MB (10⁶ bytes) of the limit")
    figure.legend(loc="outside lower left")


_RATE_DISTORTION_COLUMNS = {
    "run": str,
    "recipe": str,
    "bytes": parse_non_negative,
    "ideal": parse_non_negative,
    "lost": parse_finite,
}
_TENSOR_COLUMNS = {"name": str, "class": str, "bits": parse_non_negative}
COLUMN_GROUP_COLUMNS = {"tensor": str, "class": str, "group": parse_non_negative, "bits": parse_non_negative}
_SIZE_COLUMNS = {"part": str, "bytes": parse_non_negative}
PLOTS = (
    _Plot(
        "rate_distortion.png",
        _draw_rate_distortion,
        _RATE_DISTORTION_CSV,
        _RATE_DISTORTION_COLUMNS,
        f"{_RATE_DISTORTION_COMMAND} artifacts --csv {_RATE_DISTORTION_CSV}",
    ),
    _Plot(
        "bits_by_tensor.png",
        _draw_bits_by_tensor,
        "artifacts/quantize/tensors.csv",
        _TENSOR_COLUMNS,
        "dvc repro quantize",
    ),
    _Plot(
        "bits_by_column.png",
        _draw_bits_by_column,
        "artifacts/quantize/columns.csv",
        COLUMN_GROUP_COLUMNS,
        "dvc repro quantize",
    ),
    _Plot("bytes.png", _draw_size_bar, "artifacts/compress/sizes.csv", _SIZE_COLUMNS, "dvc repro compress"),
)
