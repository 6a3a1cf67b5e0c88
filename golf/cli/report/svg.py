"""Charts as inline SVG: axes, lines and horizontal bars, from numbers alone; the page's style sheet gives the colors.

Every function is pure: the same numbers give the same text. A chart is 400 units wide, so that its text stays readable
on a phone of 360 pixels, and grows with its column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "N_STYLES",
    "Axis",
    "Bar",
    "Series",
    "draw_bar_chart",
    "draw_line_chart",
    "make_linear_axis",
    "make_log_axis",
]

_WIDTH, _PLOT_HEIGHT = 400.0, 210.0  # of a chart, of the area between its axes
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 12.0, 25.0, 44.0  # margins of a line chart
_MAX_TICKS, _MAX_LOG_TICKS, _MAX_BAR_TICKS = 6, 8, 4
_LOG_STEPS = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))  # per decade, finest first
_BAR_HEIGHT, _LABEL_WIDTH, _VALUE_WIDTH = 19.0, 146.0, 122.0  # of a bar chart's rows and columns
N_STYLES = 8  # classes s0 to s7 of lines, b0 to b7 of bars


@dataclass(frozen=True)
class Axis:
    """A scale. label: what it measures, with its unit. ticks: each value with its text, all within low and high."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where ``value`` lies, as a share of the axis: 0 at ``low``, 1 at ``high``."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Series:
    """A line through ``points`` (x, y); with ``has_marks``, a dot at each of them too."""

    name: str
    points: tuple[tuple[float, float], ...]
    has_marks: bool = False


@dataclass(frozen=True)
class Bar:
    """A horizontal bar. text: its value with the unit. style: number of its color."""

    label: str
    value: float
    text: str
    style: int = 0


def make_linear_axis(label: str, values: Sequence[float], *, from_zero: bool = False) -> Axis:
    """Return an axis over finite ``values``, which must not be empty, with at most 6 round ticks.

    from_zero: start at 0, as bars must. Equal values get a margin on both sides.
    """
    low, high = min(values), max(values)
    low, high = (min(low, 0.0), max(high, 0.0)) if from_zero else (low, high)
    if low == high:
        low, high = low - (abs(low) / 2 or 0.5) * (not from_zero), high + (abs(high) / 2 or 0.5)
    raw_step = (high - low) / (_MAX_TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw_step))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw_step * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    decimals = max(0, -math.floor(math.log10(step)) + (step / magnitude == 2.5))
    return Axis(label, ticks[0], ticks[-1], tuple((tick, _format_tick(tick, decimals)) for tick in ticks))


def _format_tick(value: float, decimals: int) -> str:
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (abs(value) >= unit and unit > 1e3):
            return f"{value / unit:.6g}{suffix}"
    return f"{value + 0.0:,.{decimals}f}"


def make_log_axis(label: str, values: Sequence[float]) -> Axis:
    """Return a logarithmic axis over positive ``values``, which must not be empty."""
    low, high = min(values) / 1.1, max(values) * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in _LOG_STEPS:
        ticks = [tick for exponent in decades for step in steps if low <= (tick := step * 10.0**exponent) <= high]
        if len(ticks) <= _MAX_LOG_TICKS:
            break
    ticks = ticks[:: math.ceil(len(ticks) / _MAX_LOG_TICKS)] if ticks else [low, high]
    return Axis(label, low, high, tuple((tick, _format_log_tick(tick)) for tick in ticks), is_log=True)


def _format_log_tick(value: float) -> str:
    return _format_tick(value, 0) if value >= 10 else f"{value:.4g}"


def draw_line_chart(chart_id: str, title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Return an SVG element with one line for each series, in the order of the style classes s0, s1, ….

    chart_id: unique in the page. title: read out in place of the picture. Points outside the axes are left out.
    """
    plot_width = _WIDTH - _LEFT - _RIGHT
    bottom, right = _TOP + _PLOT_HEIGHT, _LEFT + plot_width
    parts = [f'<text class="axis" x="4" y="14">{escape(y.label)}</text>']
    for value, text in y.ticks:
        at = bottom - y.place(value) * _PLOT_HEIGHT
        parts.append(f'<path class="grid" d="M{_LEFT:g} {at:.1f}H{right:g}"/>')
        parts.append(f'<text x="{_LEFT - 5:g}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for value, text in x.ticks:
        at = _LEFT + x.place(value) * plot_width
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP:g}V{bottom:g}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16:g}" text-anchor="{_anchor(at)}">{escape(text)}</text>')
    middle = _LEFT + plot_width / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{bottom + 36:g}" text-anchor="middle">{escape(x.label)}</text>')
    for index, line in enumerate(series):
        points = [
            (_LEFT + x.place(px) * plot_width, bottom - y.place(py) * _PLOT_HEIGHT)
            for px, py in line.points
            if x.contains(px) and y.contains(py)
        ]
        coordinates = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        style = index % N_STYLES
        if len(points) > 1:
            parts.append(f'<path class="line s{style}" d="M{coordinates}"/>')
        if line.has_marks or len(points) == 1:
            parts += [f'<circle class="b{style}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in points]
    return _wrap(chart_id, title, bottom + _BOTTOM, parts)


def _anchor(at: float) -> str:
    """Where a tick's text is fixed, so that it does not leave the picture on the right."""
    return "end" if at > _WIDTH - _RIGHT - 8 else "middle"


def draw_bar_chart(chart_id: str, title: str, x: Axis, bars: Sequence[Bar]) -> str:
    """Return an SVG element with one horizontal bar for each entry, its label on the left, its value on the right.

    x: a linear axis from 0.
    """
    width = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    bottom = 4 + _BAR_HEIGHT * len(bars)
    parts = []
    for value, text in x.ticks[:: math.ceil(len(x.ticks) / _MAX_BAR_TICKS)]:
        at = _LABEL_WIDTH + x.place(value) * width
        parts.append(f'<path class="grid" d="M{at:.1f} 2V{bottom:g}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 14:g}" text-anchor="middle">{escape(text)}</text>')
    for index, bar in enumerate(bars):
        top = 3 + _BAR_HEIGHT * index
        length = max(0.0, x.place(bar.value)) * width
        baseline = top + _BAR_HEIGHT - 5
        parts.append(
            f'<text x="{_LABEL_WIDTH - 6:g}" y="{baseline:g}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect class="b{bar.style % N_STYLES}" x="{_LABEL_WIDTH:g}" y="{top + 1:g}" width="{length:.1f}" '
            f'height="{_BAR_HEIGHT - 4:g}"/>'
            f'<text x="{_LABEL_WIDTH + length + 5:.1f}" y="{baseline:g}">{escape(bar.text)}</text>'
        )
    middle = _LABEL_WIDTH + width / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{bottom + 32:g}" text-anchor="middle">{escape(x.label)}</text>')
    return _wrap(chart_id, title, bottom + 40, parts)


def _wrap(chart_id: str, title: str, height: float, parts: Sequence[str]) -> str:
    """The SVG element around ``parts``."""
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-labelledby="{escape(chart_id)}-title">'
        f'<title id="{escape(chart_id)}-title">{escape(title)}</title>{"".join(parts)}</svg>'
    )
