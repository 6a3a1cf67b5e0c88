"""PNG pictures of what the stages and the benchmark measured, for reports and pull requests.

Each is drawn from one table and from nothing else. The same table gives the same bytes, without a display too:
matplotlib's own style on its Agg canvas, whatever a matplotlibrc says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from golf.ground import store
from golf.ground.errors import BadInput, Unavailable
from golf.looking.tables import amount, grouped, number, read

BENCHMARK, CURVES = "python benchmarks/rate_distortion.py", "benchmarks/results/rate_distortion.csv"
DOTS, BAR, PANEL = 100, 0.25, 5.5  # an inch; inches of a bar's height, of a panel's width
TICKS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # of a decade, each at most 1.5 times the one before
COARSE = (1, 2, 5)  # where there is more than one decade
NOISE = 1e-4  # bpb: a smaller loss is chance
PLAIN = {"code": "black", "headroom": "white"}  # of the limit, what is no part of the model


@dataclass(frozen=True)
class Picture:
    """file: its name. draw: puts the table's rows on a figure. columns: those it reads, and each cell's reader.

    writer: the command that writes the table.
    """

    file: str
    draw: Callable
    table: str
    columns: dict[str, Callable]
    writer: str


def plot(folder: Path) -> str:
    """Draw into ``folder`` every picture whose table is there, and say in a line for each whether it is drawn.

    Raises Unavailable without matplotlib, BadArtifact for a damaged table, BadInput for a folder that can't be made.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise Unavailable("matplotlib: not installed, golf plot draws with it; pip install -e '.[dev]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {folder}: no folder can be made there ({error.strerror}); name another") from None
    lines = []
    for picture in PICTURES:
        if not Path(picture.table).exists():
            lines.append(f"{picture.file}: not drawn, no {picture.table}; written by: {picture.writer}")
            continue
        rows = read(picture.table, picture.columns)
        with style.context("default"), store.writing(folder / picture.file) as partial:
            figure = Figure(layout="constrained")
            picture.draw(figure, rows)
            figure.savefig(partial, format="png", dpi=DOTS, metadata={"Software": None})
        lines.append(f"{folder / picture.file}")
    return "\n".join(lines)


def rate_distortion(figure, rows: list[dict]) -> None:
    """A panel a run, a line a recipe; dashed, what the last recipe's file would weigh at its codes' order-0 entropy."""
    runs = grouped(rows, "run")
    figure.set_size_inches(PANEL * len(runs), 4.5)
    for axes, (run, points) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        shown = [point for point in points if point["lost"] >= NOISE and min(point["bytes"], point["ideal"]) > 0]
        for recipe, curve in grouped(shown, "recipe").items():
            axes.loglog(megabytes(curve, "bytes"), [p["lost"] for p in curve], marker="o", label=recipe)
        last = [point for point in shown if point["recipe"] == points[-1]["recipe"]]
        dashed = {"color": "black", "ls": "--", "label": f"{points[-1]['recipe']}: order-0 entropy"}
        axes.loglog(megabytes(last, "ideal"), [p["lost"] for p in last], **dashed)
        if shown:
            logarithmic(axes.xaxis, megabytes(shown, "bytes") + megabytes(last, "ideal"))
            logarithmic(axes.yaxis, [p["lost"] for p in shown])
        left_out = len(points) - len(shown)
        axes.set_title(run + (f" (not drawn, under {NOISE:g} bpb: {left_out})" if left_out else ""))
        axes.set(xlabel="model file, MB (10⁶ bytes)", ylabel="lost by quantisation, bits per byte")
        axes.grid(color="0.9")
    lines, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3)


def megabytes(rows: list[dict], key: str) -> list[float]:
    return [row[key] / 1e6 for row in rows]


def logarithmic(axis, values: list[float]) -> None:
    """Limits a little beyond the values, and plain numbers between them, at least one whatever the values."""
    low, high = min(values) / 1.25, max(values) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    steps = TICKS if high / low < 10 else COARSE
    ticks = [each * 10**decade for decade in decades for each in steps if low <= each * 10**decade <= high]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})


def bits_by_tensor(figure, rows: list[dict]) -> None:
    """A bar a tensor, a colour a class."""
    figure.set_size_inches(8, 1.2 + BAR * len(rows))
    axes = figure.subplots()
    for kind, each in grouped(rows, "class").items():
        axes.barh([row["name"] for row in each], [row["bits"] for row in each], label=kind)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("bits a weight, order-0 entropy of the codes")
    figure.legend(loc="outside upper right", ncols=2)


def bits_by_column(figure, rows: list[dict]) -> None:
    """A thin line a tensor; a thick one the mean over a class."""
    figure.set_size_inches(8, 4.5)
    axes = figure.subplots()
    for index, (kind, each) in enumerate(grouped(rows, "class").items()):
        for line in grouped(each, "tensor").values():
            axes.plot([p["group"] for p in line], [p["bits"] for p in line], color=f"C{index}", alpha=0.3, lw=0.8)
        means = {group: fmean(p["bits"] for p in part) for group, part in sorted(grouped(each, "group").items())}
        axes.plot(means.keys(), means.values(), color=f"C{index}", lw=2.5, label=f"{kind}, mean over tensors")
    axes.set_xlabel("sixteenth of the columns, by falling step (row grid: by falling diagonal of the Hessian)")
    axes.set_ylabel("bits a weight, order-0 entropy of the codes")
    axes.legend()


def spent(figure, rows: list[dict]) -> None:
    """One bar, the limit, part by part."""
    figure.set_size_inches(9, 1.6 + BAR * len(rows))
    axes, total, start = figure.subplots(), sum(row["bytes"] for row in rows), 0.0
    for index, row in enumerate(rows):
        share = f"{row['part']}: {row['bytes']:,.0f} bytes, {row['bytes'] / max(1, total):.1%}"
        look = {"color": PLAIN.get(row["part"], f"C{index}"), "hatch": "//" * (index >= 10)}  # C10 is C0 again
        look |= {"edgecolor": "black", "lw": 0.5, "label": share}
        axes.barh(0, row["bytes"] / 1e6, left=start / 1e6, **look)
        start += row["bytes"]
    axes.set_yticks([])
    axes.margins(x=0)
    axes.set_xlabel("MB (10⁶ bytes) of the limit")
    figure.legend(loc="outside lower left")


CURVE = {"run": str, "recipe": str, "bytes": amount, "ideal": amount, "lost": number}
TENSOR = {"name": str, "class": str, "bits": amount}
GROUP = {"tensor": str, "class": str, "group": amount, "bits": amount}
PART = {"part": str, "bytes": amount}
PICTURES = (
    Picture("rate_distortion.png", rate_distortion, CURVES, CURVE, f"{BENCHMARK} artifacts --csv {CURVES}"),
    Picture("bits_by_tensor.png", bits_by_tensor, "artifacts/quantize/tensors.csv", TENSOR, "dvc repro quantize"),
    Picture("bits_by_column.png", bits_by_column, "artifacts/quantize/columns.csv", GROUP, "dvc repro quantize"),
    Picture("bytes.png", spent, "artifacts/compress/sizes.csv", PART, "dvc repro compress"),
)
