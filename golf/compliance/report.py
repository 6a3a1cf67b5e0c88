"""Findings as text: a row a check, longer cells wrapped in their columns, notes below; 80 columns.

A screen shows in full what is no PASS; what passes is folded into its names.
"""

import itertools
import textwrap

from golf.compliance.check_result import PASS, CheckResult

LINE_WIDTH = 80  # columns of the smallest terminal
_FIXED_COLUMN_WIDTHS = (8, 14, 36)  # status, check, measured; the limit takes what is left


def render_results(results: list[CheckResult], show_all: bool) -> list[str]:
    """A row for each finding; those that pass are folded first unless the ``whole`` is asked for."""
    shown_results = [result for result in results if show_all or result.status != PASS]
    return [*([] if show_all else _pass_summary(results)), *(line for one in shown_results for line in render_row(one))]


def _pass_summary(results: list[CheckResult]) -> list[str]:
    """The names of what passes, those of one condition together: ``C1-a b e, M-a``."""
    names = [result.check for result in results if result.status == PASS]
    groups = itertools.groupby(names, lambda name: name.rpartition("-")[0] or name)
    summary = ", ".join(" ".join([first, *(name.rpartition("-")[2] for name in rest)]) for _, (first, *rest) in groups)
    indent = " " * _FIXED_COLUMN_WIDTHS[0]
    return textwrap.wrap(summary, LINE_WIDTH, initial_indent=PASS.ljust(len(indent)), subsequent_indent=indent)


def render_row(result: CheckResult) -> list[str]:
    """A finding's row, its longer cells wrapped in their columns, and its note below."""
    lines = itertools.zip_longest(
        *_wrap_cells(result.status, result.check, result.measured, result.limit), fillvalue=""
    )
    row_lines = ["".join(cell.ljust(width) for cell, width in zip(row, _column_widths(), strict=True)) for row in lines]
    indent = " " * _FIXED_COLUMN_WIDTHS[0]
    note_lines = textwrap.wrap(
        replace_unprintable(result.note), LINE_WIDTH, initial_indent=indent, subsequent_indent=indent
    )
    return [line.rstrip() for line in row_lines + note_lines]


def _wrap_cells(*texts: str) -> list[list[str]]:
    return [
        textwrap.wrap(replace_unprintable(cell), width - 1) or [""]
        for cell, width in zip(texts, _column_widths(), strict=True)
    ]


def _column_widths() -> tuple[int, ...]:
    return (*_FIXED_COLUMN_WIDTHS, LINE_WIDTH - sum(_FIXED_COLUMN_WIDTHS))


def replace_unprintable(text: str) -> str:
    """What a stranger named, without characters that would steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
