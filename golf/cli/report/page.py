"""The HTML page around the sections: style sheet, navigation and small elements; every text from outside is escaped.

The page holds no script and names no address, and its content policy forbids the browser to load anything. It is also
well-formed XML. Colors follow the reader's light or dark scheme, and print is light.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "DARK_COLORS",
    "LIGHT_COLORS",
    "PageSection",
    "render_details",
    "render_figure",
    "render_legend",
    "render_not_run",
    "render_page",
    "render_paragraph",
    "render_status",
    "render_table",
]

# names of custom properties: page, text, muted text, lines; text of each status; s0 to s7 of lines and bars
LIGHT_COLORS = {
    "page": "#ffffff",
    "panel": "#f4f6f8",
    "text": "#1b1f24",
    "muted": "#525b66",
    "rule": "#d3d9df",
    "pass": "#0a6640",
    "fail": "#b3122b",
    "unruled": "#8a4300",
    "s0": "#0b5cad",
    "s1": "#b54708",
    "s2": "#0f7b5f",
    "s3": "#7a2fd0",
    "s4": "#a8123e",
    "s5": "#5c5c00",
    "s6": "#46525f",
    "s7": "#00606e",
}
DARK_COLORS = {
    "page": "#14171c",
    "panel": "#1d2229",
    "text": "#e6e9ed",
    "muted": "#a3adb8",
    "rule": "#39424d",
    "pass": "#5fd39b",
    "fail": "#ff8a94",
    "unruled": "#f0a860",
    "s0": "#6cb2ff",
    "s1": "#f0a060",
    "s2": "#4fd1a5",
    "s3": "#c9a2ff",
    "s4": "#ff8aa5",
    "s5": "#d8d060",
    "s6": "#b4bfca",
    "s7": "#5cd6e6",
}
_DASHES = (
    "none",
    "6 3",
    "2 3",
    "9 3 2 3",
    "13 4",
    "4 5",
    "1 2",
    "16 3 2 3 2 3",
)  # lines differ on paper without color too
_RULES = """
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:break-word}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .4rem;border-top:1px solid var(--rule);
padding-top:.8rem}h3{font-size:1rem;margin:1rem 0 .2rem}
p{margin:.4rem 0;max-width:46rem}.muted,figcaption{color:var(--muted);font-size:.9rem}
nav ul,.legend,.tree{list-style:none;margin:0;padding:0}nav ul{display:flex;flex-wrap:wrap;gap:.2rem .9rem}
a{color:var(--s0)}.score{font-size:1.7rem;font-weight:650;margin:.3rem 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem 1.5rem}
figure{margin:.5rem 0;min-width:0}figcaption{margin-top:.2rem;max-width:40rem}
svg.chart{display:block;width:100%;max-width:30rem;height:auto}
svg text{fill:var(--text);paint-order:stroke;stroke:var(--page);stroke-width:3px;
font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg .axis{fill:var(--muted)}svg .grid{stroke:var(--rule);fill:none}svg .line{fill:none;stroke-width:2}
svg.key{width:2rem;height:.7rem;vertical-align:baseline;margin-right:.3rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.9rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.4rem 0}
th,td{text-align:left;vertical-align:top;padding:.2rem .7rem .2rem 0;border-bottom:1px solid var(--rule)}
th{color:var(--muted);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:.88em ui-monospace,Consolas,monospace;overflow-wrap:anywhere}
td code{white-space:nowrap}summary{cursor:pointer;padding:.2rem 0}
.pass{color:var(--pass)}.fail{color:var(--fail)}.unruled{color:var(--unruled)}.notrun{color:var(--muted)}
.pass,.fail,.unruled,.notrun{font-weight:650;white-space:nowrap}
.box{background:var(--panel);padding:.5rem .8rem;border-left:3px solid var(--muted);max-width:46rem}
.tree .tree{margin-left:.5rem;padding-left:.8rem;border-left:1px solid var(--rule)}.tree li{margin:.3rem 0}
footer{margin-top:2rem;color:var(--muted);font-size:.9rem}
@media screen and (max-width:40rem){.stack thead{display:none}.stack tr{display:block;padding:.4rem 0;
border-bottom:1px solid var(--rule)}.stack td{display:block;border:0;padding:0}
.stack td.n{text-align:left}.stack td:empty{display:none}
.stack td::before{content:attr(data-label) ": ";color:var(--muted)}}
@media print{body{max-width:none;padding:0;font-size:10pt}nav{display:none}figure,tr,.box{break-inside:avoid}
h2{break-after:avoid}.charts{grid-template-columns:1fr 1fr}.scroll{overflow:visible}a{color:inherit}}
"""


@dataclass(frozen=True)
class PageSection:
    """anchor: its id in the page, unique. body: HTML."""

    anchor: str
    title: str
    body: str


def render_page(title: str, sections: Sequence[PageSection], footer: str) -> str:
    """Return the whole page, which is HTML and well-formed XML. title, footer: plain text."""
    links = "".join(f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections)
    bodies = "\n".join(
        f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="color-scheme" content="light dark" />
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:" />
<link rel="icon" href="data:," />
<title>{escape(title)}</title>
<style>{_render_style_sheet()}</style>
</head>
<body>
<header><h1>{escape(title)}</h1></header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{bodies}
</main>
<footer><p>{escape(footer)}</p></footer>
</body>
</html>
"""


def _render_style_sheet() -> str:
    light, dark = (
        "".join(f"--{name}:{color};" for name, color in colors.items()) for colors in (LIGHT_COLORS, DARK_COLORS)
    )
    styles = "".join(
        f"svg .s{index}{{stroke:var(--s{index});stroke-dasharray:{dash}}}svg .b{index}{{fill:var(--s{index})}}"
        for index, dash in enumerate(_DASHES)
    )
    return (
        f":root{{color-scheme:light dark;{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"{_RULES}{styles}\n"
    )


def render_paragraph(text: str, css_class: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{css_class}">{escape(text)}</p>' if css_class else f"<p>{escape(text)}</p>"


def render_not_run(subject: str, hint: str) -> str:
    """Return what stands in place of figures that do not exist. subject: what is missing; hint: what makes it."""
    return f'<p class="box"><span class="notrun">NOT-RUN</span>: {escape(subject)}; {escape(hint)}</p>'


def render_status(word: str) -> str:
    """Return the status of a check, PASS, FAIL, UNRULED or NOT-RUN, in its color."""
    css_class = {"PASS": "pass", "FAIL": "fail", "UNRULED": "unruled"}.get(word, "notrun")
    return f'<span class="{css_class}">{escape(word)}</span>'


def render_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), stacks: bool = False
) -> str:
    """Return a table that scrolls by itself where the page is narrow.

    header: plain text. rows: HTML of each cell. numbers: indices of the columns that are set on the right. stacks: on a
    narrow page set the cells of a row below each other, each after its column's name, which suits cells of many words.
    """
    marks = [' class="n"' if index in numbers else "" for index in range(len(header))]
    head = "".join(f"<th{mark}>{escape(cell)}</th>" for mark, cell in zip(marks, header, strict=True))
    if stacks:
        marks = [f'{mark} data-label="{escape(cell)}"' for mark, cell in zip(marks, header, strict=True)]
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    css_class = ' class="stack"' if stacks else ""
    return f'<div class="scroll"><table{css_class}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def render_details(summary: str, body: str) -> str:
    """Return a part that opens on request. summary: plain text; body: HTML."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def render_legend(names: Sequence[str], *, has_lines: bool = True) -> str:
    """Return the names of a chart's series beside the style of each: a line, or the color of bars."""
    keys = []
    for index, name in enumerate(names):
        style = index % len(_DASHES)
        line, block = f'<path class="line s{style}" d="M1 6H31"/>', f'<rect class="b{style}" width="32" height="11"/>'
        mark = line if has_lines else block
        keys.append(f'<li><svg class="key" viewBox="0 0 32 11" aria-hidden="true">{mark}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(keys)}</ul>'


def render_figure(heading: str, chart: str, caption: str, key: str = "") -> str:
    """Return a chart with its heading, its legend ``key`` and its caption. heading, caption: plain text."""
    return f"<figure><h3>{escape(heading)}</h3>{key}{chart}<figcaption>{escape(caption)}</figcaption></figure>"
