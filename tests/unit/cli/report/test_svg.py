"""golf/cli/report/svg.py: axes, lines and bars"""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.cli.report import svg
from golf.cli.report.svg import Bar, Series

NUMBERS = st.lists(st.floats(-1e9, 1e9, allow_subnormal=False).map(lambda x: round(x, 6)), min_size=1, max_size=9)
POSITIVE = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=9)


@given(NUMBERS, st.booleans())
def test_a_linear_axis_holds_its_values_and_a_few_round_ticks_in_order(values, from_zero):
    axis = svg.make_linear_axis("x", values, from_zero=from_zero)
    assert all(
        axis.contains(value) or math.isclose(value, axis.low) or math.isclose(value, axis.high) for value in values
    )
    places = [axis.place(tick) for tick, _ in axis.ticks]
    assert places == sorted(places)
    assert 2 <= len(places) <= 8
    assert (places[0], places[-1]) == (0, 1)
    assert not from_zero or axis.contains(0)


@given(POSITIVE)
def test_a_logarithmic_axis_holds_its_values_and_its_ticks(values):
    axis = svg.make_log_axis("x", values)
    assert all(axis.contains(value) for value in values)
    assert all(0 <= axis.place(tick) <= 1 for tick, _ in axis.ticks)
    assert 1 <= len(axis.ticks) <= 8


def test_ticks_of_equal_distance_have_different_texts():
    for values in ([0.0001, 0.0004], [1.05, 1.1], [0, 270.8], [12_000, 210_193], [3, 3], [0, 0]):
        texts = [text for _, text in svg.make_linear_axis("x", values).ticks]
        assert len(set(texts)) == len(texts), values


def test_a_line_goes_where_its_axes_put_it():
    x, y = svg.make_linear_axis("steps", [0, 10]), svg.make_linear_axis("nats", [0, 4])
    chart = ElementTree.fromstring(svg.draw_line_chart("loss", "Loss", x, y, [Series("train", ((0, 4), (10, 0)))]))
    line = next(path.get("d") for path in chart.iter("path") if path.get("class") == "line s0")
    (left, top), (right, bottom) = ([float(n) for n in point.split()] for point in re.split("[ML]", line)[1:])
    grid = [path.get("d") for path in chart.iter("path") if path.get("class") == "grid"]
    assert f"M{left:g} {top:.1f}H{right:g}" in grid, "the largest value lies on the highest line of the grid"
    assert f"M{left:g} {bottom:.1f}H{right:g}" in grid


def test_points_outside_the_axes_are_left_out():
    x, y = svg.make_log_axis("bytes", [1, 10]), svg.make_linear_axis("bpb", [0, 1])
    lines = [Series("one", ((1, 0.5), (10, 0.5), (500, 0.5)), has_marks=True)]
    chart = ElementTree.fromstring(svg.draw_line_chart("chart", "Title", x, y, lines))
    assert len(list(chart.iter("circle"))) == 2


def test_the_lengths_of_bars_are_proportional_to_their_values():
    bars = [Bar("a", 0, "0"), Bar("b", 2, "2"), Bar("c", 4, "4", style=1)]
    axis = svg.make_linear_axis("kB", [bar.value for bar in bars], from_zero=True)
    chart = ElementTree.fromstring(svg.draw_bar_chart("bars", "Bars", axis, bars))
    lengths = [float(rect.get("width")) for rect in chart.iter("rect")]
    assert lengths[0] == 0
    assert lengths[2] == pytest.approx(2 * lengths[1])
    assert [rect.get("class") for rect in chart.iter("rect")] == ["b0", "b0", "b1"]


def test_names_from_outside_are_text_and_never_markup():
    name = '<script>alert(1)</script> & "quotes"'
    axis = svg.make_linear_axis(name, [0, 1], from_zero=True)
    for chart in (
        svg.draw_bar_chart("a", name, axis, [Bar(name, 1, name)]),
        svg.draw_line_chart("a", name, axis, axis, [Series(name, ((0, 1), (1, 0)))]),
    ):
        root = ElementTree.fromstring(chart)
        assert root.find("script") is None
        assert name in [text.text for text in root.iter("text")]


def test_every_text_of_a_chart_begins_and_ends_inside_the_picture():
    axis = svg.make_linear_axis("MB (10⁶ bytes)", [0, 271.9], from_zero=True)
    bars = [Bar("blocks.#.attn.c_pro", 271.9, "344,249 B, 34.4%"), Bar("code", 1, "1 B, 0.0%")]
    root = ElementTree.fromstring(svg.draw_bar_chart("a", "Bars", axis, bars))
    for text in root.iter("text"):
        width = 7.2 * len(text.text)  # of 13 px system fonts, on average
        anchor = {"end": 1.0, "middle": 0.5}.get(text.get("text-anchor"), 0.0)
        left = float(text.get("x")) - anchor * width
        assert left >= -6, text.text
        assert left + width <= 406, text.text
