"""Check results as text of 80 columns: a row for each check with wrapped cells, its note below."""

import itertools
import textwrap

from golf.compliance.check_result import PASS, CheckResult

__all__ = ["LINE_WIDTH", "render_results", "render_row", "replace_unprintable"]

LINE_WIDTH = 80  # columns of the smallest terminal
_FIXED_COLUMN_WIDTHS = (8, 14, 36)  # status, check, measured; the limit gets the rest
_MAX_CELL_CHARS, _MAX_NOTE_CHARS = 1_000, 4_000  # shown of one; names from outside may be many and long


def render_results(results: list[CheckResult], show_all: bool) -> list[str]:
    """Render a row for each result; without ``show_all``, those that pass are summarized by their ids first."""
    lines = [] if show_all else _summarize_passes(results)
    for result in results:
        if show_all or result.status != PASS:
            lines += render_row(result.check, result.status, result.measured, result.limit, result.note)
    return lines


def _summarize_passes(results: list[CheckResult]) -> list[str]:
    """The ids of checks that pass, grouped by condition: ``C1-a b e, M-a``."""
    names = [result.check for result in results if result.status == PASS]
    groups = itertools.groupby(names, lambda name: name.rpartition("-")[0] or name)
    summary = ", ".join(" ".join([first, *(name.rpartition("-")[2] for name in rest)]) for _, (first, *rest) in groups)
    indent = " " * _FIXED_COLUMN_WIDTHS[0]
    return textwrap.wrap(summary, LINE_WIDTH, initial_indent=PASS.ljust(len(indent)), subsequent_indent=indent)


def render_row(check: str, status: str, measured: str, limit: str, note: str = "") -> list[str]:
    """Render the lines of a row, its longer cells wrapped in their columns, its note below; very long texts are cut."""
    check, status, measured, limit = (_cut(cell, _MAX_CELL_CHARS) for cell in (check, status, measured, limit))
    note = _cut(note, _MAX_NOTE_CHARS)
    lines = itertools.zip_longest(*_wrap_cells(status, check, measured, limit), fillvalue="")
    row_lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, _measure_columns(), strict=True)) for row in lines
    ]
    indent = " " * _FIXED_COLUMN_WIDTHS[0]
    note_lines = textwrap.wrap(replace_unprintable(note), LINE_WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [line.rstrip() for line in row_lines + note_lines]


def _cut(text: str, max_chars: int) -> str:
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]} … and {len(text) - max_chars:,} more characters"


def _wrap_cells(*texts: str) -> list[list[str]]:
    return [
        textwrap.wrap(replace_unprintable(cell), width - 1) or [""]
        for cell, width in zip(texts, _measure_columns(), strict=True)
    ]


def _measure_columns() -> tuple[int, ...]:
    return (*_FIXED_COLUMN_WIDTHS, LINE_WIDTH - sum(_FIXED_COLUMN_WIDTHS))


def replace_unprintable(text: str) -> str:
    """Replace control characters, which names from outside may contain and which would steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
