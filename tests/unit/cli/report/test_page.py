"""golf/cli/report/page.py: colors, escaping and the skeleton of the page"""

import re
from xml.etree import ElementTree

import pytest

from golf.cli.report import page, svg
from golf.cli.report.page import PageSection

SCHEMES = {"light": page.LIGHT_COLORS, "dark": page.DARK_COLORS}
TEXT_COLORS = ("text", "muted", "pass", "fail", "unruled", "s0")  # s0 is also the color of links
LINE_COLORS = [f"s{index}" for index in range(svg.N_STYLES)]


def compute_luminance(color: str) -> float:
    """The relative luminance of WCAG 2.2."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def compute_contrast(one: str, other: str) -> float:
    low, high = sorted((compute_luminance(one), compute_luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_has_a_contrast_of_4_5_and_every_line_of_3(scheme):
    colors = SCHEMES[scheme]
    assert compute_contrast("#000000", "#ffffff") == pytest.approx(21)
    for background in ("page", "panel"):
        for name in TEXT_COLORS:
            assert compute_contrast(colors[name], colors[background]) >= 4.5, (name, background)
    for name in LINE_COLORS:
        assert compute_contrast(colors[name], colors["page"]) >= 3, name


def test_both_schemes_define_the_same_colors_and_every_color_that_is_used():
    html = page.render_page("title", [], "footer")
    assert page.LIGHT_COLORS.keys() == page.DARK_COLORS.keys()
    assert set(re.findall(r"var\(--(\w+)\)", html)) <= page.LIGHT_COLORS.keys()
    dark = re.search(r"prefers-color-scheme:dark\)\{:root\{([^}]*)\}", html)[1]
    assert dark == "".join(f"--{name}:{color};" for name, color in page.DARK_COLORS.items())
    assert "color-scheme:light dark" in html
    assert "@media print{" in html


def test_every_style_of_a_line_has_its_own_dashes():
    html = page.render_page("title", [], "footer")
    dashes = [
        re.search(rf"svg \.s{index}\{{stroke:var\(--s{index}\);stroke-dasharray:([^}}]*)\}}", html)[1]
        for index in range(svg.N_STYLES)
    ]
    assert len(set(dashes)) == svg.N_STYLES


def test_texts_from_outside_are_never_markup():
    text = "<b>&\"'"
    fragments = [
        page.render_paragraph(text),
        page.render_not_run(text, text),
        page.render_status(text),
        page.render_legend([text]),
        page.render_details(text, ""),
        page.render_figure(text, "", text),
        page.render_table([text], []),
        page.render_page(text, [PageSection("a", text, "")], text).partition("\n")[2],
    ]
    for fragment in fragments:
        root = ElementTree.fromstring(fragment)
        assert text in "".join(root.itertext())
        assert root.find(".//b") is None


def test_the_cells_of_a_stacked_table_carry_the_names_of_their_columns():
    root = ElementTree.fromstring(page.render_table(["check", "status"], [["C1", "PASS"]], stacks=True))
    assert [(cell.get("data-label"), cell.text) for cell in root.iter("td")] == [("check", "C1"), ("status", "PASS")]
