"""``golf plot``: PNG plots of the tables that the stages and a benchmark write, for reports and pull requests.

Each plot is drawn from one table. The same table gives the same bytes, also without a display: the default style of
matplotlib on its Agg canvas, whatever a matplotlibrc says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from golf.artifacts import io
from golf.artifacts.io import group_by, parse_finite_float, parse_non_negative_float, read_csv
from golf.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "draw_plots"]

_RATE_DISTORTION_CSV = "benchmarks/results/rate_distortion.csv"
_DPI, _BAR_INCHES, _PANEL_INCHES = 100, 0.25, 5.5  # dots per inch, height of a bar, width of a panel
_LOG_TICKS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # within a decade, each at most 1.5 times the one before
_COARSE_LOG_TICKS = (1, 2, 5)  # for more than one decade
_NOISE_BPB = 1e-4  # a smaller loss is within noise
_FIXED_COLORS = {"code": "black", "headroom": "white"}  # the parts of the limit that are not the model

_Row = dict[str, Any]  # the values of the columns that a plot reads


@dataclass(frozen=True)
class _Plot:
    """A plot of one table.

    draw: draws the table's rows on a figure. columns: the columns that it reads, and the parser of each.
    command: writes the table.
    """

    file_name: str
    draw: Callable[["Figure", list[_Row]], None]
    table_path: str
    columns: Mapping[str, Callable[[str], Any]]
    command: str


def draw_plots(folder: Path) -> str:
    """Draw every plot whose table exists into ``folder``; one line for each plot says whether it was drawn.

    Raises InputError if there is no table at all or the folder can't be made, UnavailableError without matplotlib,
    ArtifactError for a damaged table.
    """
    if not any(Path(plot.table_path).exists() for plot in PLOTS):
        raise InputError(f"nothing to draw, as no table is here; write {_list_tables()}")
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError(
            "golf plot needs matplotlib, which is not installed; install it with: pip install -e '.[dev]'"
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: the folder can't be made ({error.strerror}); give another one") from None
    lines = []
    for plot in PLOTS:
        if not Path(plot.table_path).exists():
            lines.append(f"{plot.file_name}: not drawn, {plot.table_path} is missing; write it with: {plot.command}")
            continue
        rows = read_csv(plot.table_path, dict(plot.columns))
        with style.context("default"), io.atomic_write(folder / plot.file_name) as partial_path:
            figure = Figure(layout="constrained")
            plot.draw(figure, rows)
            figure.savefig(partial_path, format="png", dpi=_DPI, metadata={"Software": None})
        lines.append(f"{folder / plot.file_name}")
    return "\n".join(lines)


def _list_tables() -> str:
    """Every table, grouped by the command that writes it."""
    commands = dict.fromkeys(plot.command for plot in PLOTS)
    groups = {command: [plot.table_path for plot in PLOTS if plot.command == command] for command in commands}
    return "; ".join(f"{' and '.join(tables)} with: {command}" for command, tables in groups.items())


def _draw_rate_distortion(figure: "Figure", rows: list[_Row]) -> None:
    """One panel for each run, one line for each recipe; dashed, the order-0 entropy of the last recipe's codes."""
    runs = group_by(rows, "run")
    figure.set_size_inches(_PANEL_INCHES * len(runs), 4.5)
    for axes, (run, points) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        visible = [
            point
            for point in points
            if point["bpb_increase"] >= _NOISE_BPB and min(point["bytes"], point["order_0_bytes"]) > 0
        ]
        for recipe, curve in group_by(visible, "recipe").items():
            axes.loglog(_to_megabytes(curve, "bytes"), _get_losses(curve), marker="o", label=recipe)
        last_recipe = points[-1]["recipe"]
        last_points = [point for point in visible if point["recipe"] == last_recipe]
        entropy_megabytes = _to_megabytes(last_points, "order_0_bytes")
        label = f"{last_recipe}: order-0 entropy"
        axes.loglog(entropy_megabytes, _get_losses(last_points), color="black", ls="--", label=label)
        if visible:
            _set_log_ticks(axes.xaxis, _to_megabytes(visible, "bytes") + entropy_megabytes)
            _set_log_ticks(axes.yaxis, _get_losses(visible))
        n_hidden = len(points) - len(visible)
        axes.set_title(run + (f" (not shown, under {_NOISE_BPB:g} bpb: {n_hidden})" if n_hidden else ""))
        axes.set(xlabel="model file, MB (10⁶ bytes)", ylabel="loss by quantization, bits per byte")
        axes.grid(color="0.9")
    lines, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3)


def _get_losses(points: list[_Row]) -> list[float]:
    return [point["bpb_increase"] for point in points]


def _to_megabytes(points: list[_Row], key: str) -> list[float]:
    return [point[key] / 1e6 for point in points]


def _set_log_ticks(axis: "Axis", values: list[float]) -> None:
    """Set limits slightly beyond the values, and at least one plain number as a tick between them."""
    low, high = min(values) / 1.25, max(values) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    steps = _LOG_TICKS if high / low < 10 else _COARSE_LOG_TICKS
    ticks = [step * 10**decade for decade in decades for step in steps if low <= step * 10**decade <= high]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
    set_limits = axis.axes.set_xlim if axis is axis.axes.xaxis else axis.axes.set_ylim
    set_limits(low, high)


def _draw_bits_by_tensor(figure: "Figure", rows: list[_Row]) -> None:
    """One bar for each tensor, one color for each kind."""
    figure.set_size_inches(8, 1.2 + _BAR_INCHES * len(rows))
    axes = figure.subplots()
    for kind, kind_rows in group_by(rows, "kind").items():
        axes.barh([row["tensor"] for row in kind_rows], [row["bits_per_weight"] for row in kind_rows], label=kind)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("bits per weight, order-0 entropy of the codes")
    figure.legend(loc="outside upper right", ncols=2)


def _draw_bits_by_column(figure: "Figure", rows: list[_Row]) -> None:
    """A thin line for each tensor; a thick one for the mean over each kind."""
    figure.set_size_inches(8, 4.5)
    axes = figure.subplots()
    for index, (kind, kind_rows) in enumerate(group_by(rows, "kind").items()):
        color = f"C{index}"
        for tensor_rows in group_by(kind_rows, "tensor").values():
            groups, bits = [row["group"] for row in tensor_rows], [row["bits_per_weight"] for row in tensor_rows]
            axes.plot(groups, bits, color=color, alpha=0.3, lw=0.8)
        means = {
            group: fmean(row["bits_per_weight"] for row in group_rows)
            for group, group_rows in sorted(group_by(kind_rows, "group").items())
        }
        axes.plot(list(means), list(means.values()), color=color, lw=2.5, label=f"{kind}, mean over tensors")
    axes.set_xlabel("sixteenth of the columns, by falling scale (row grid: by falling diagonal of the Hessian)")
    axes.set_ylabel("bits per weight, order-0 entropy of the codes")
    axes.legend()


def _draw_size_bar(figure: "Figure", rows: list[_Row]) -> None:
    """The limit as one bar, part by part."""
    figure.set_size_inches(9, 1.6 + _BAR_INCHES * len(rows))
    axes, total_bytes, start_bytes = figure.subplots(), sum(row["bytes"] for row in rows), 0.0
    for index, row in enumerate(rows):
        color = _FIXED_COLORS.get(row["part"], f"C{index}")
        hatch = "//" if index >= 10 else None  # C10 is the color of C0 again
        label = f"{row['part']}: {row['bytes']:,.0f} bytes, {row['bytes'] / max(1, total_bytes):.1%}"
        axes.barh(
            0,
            row["bytes"] / 1e6,
            left=start_bytes / 1e6,
            color=color,
            hatch=hatch,
            edgecolor="black",
            lw=0.5,
            label=label,
        )
        start_bytes += row["bytes"]
    axes.set_yticks([])
    axes.margins(x=0)
    axes.set_xlabel("MB (10⁶ bytes) of the limit")
    figure.legend(loc="outside lower left")


PLOTS = (
    _Plot(
        "rate_distortion.png",
        _draw_rate_distortion,
        _RATE_DISTORTION_CSV,
        {
            "run": str,
            "recipe": str,
            "bytes": parse_non_negative_float,
            "order_0_bytes": parse_non_negative_float,
            "bpb_increase": parse_finite_float,
        },
        f"python benchmarks/rate_distortion.py artifacts --csv {_RATE_DISTORTION_CSV}",
    ),
    _Plot(
        "bits_by_tensor.png",
        _draw_bits_by_tensor,
        "artifacts/quantize/tensors.csv",
        {"tensor": str, "kind": str, "bits_per_weight": parse_non_negative_float},
        "dvc repro quantize",
    ),
    _Plot(
        "bits_by_column.png",
        _draw_bits_by_column,
        "artifacts/quantize/columns.csv",
        {"tensor": str, "kind": str, "group": parse_non_negative_float, "bits_per_weight": parse_non_negative_float},
        "dvc repro quantize",
    ),
    _Plot(
        "bytes.png",
        _draw_size_bar,
        "artifacts/compress/sizes.csv",
        {"part": str, "bytes": parse_non_negative_float},
        "dvc repro compress",
    ),
)
