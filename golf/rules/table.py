"""Findings as text: a row a check, longer cells wrapped in their columns, notes below; 80 columns.

A screen shows in full what is no PASS; what passes is folded into its names.
"""

import itertools
import textwrap

from golf.rules.finding import PASS, Finding

WIDTH = 80  # columns of the smallest terminal
COLUMNS = (8, 14, 36)  # status, check, measured; the limit takes what is left


def screen(found: list[Finding], whole: bool) -> list[str]:
    """A row for each finding; those that pass are folded first unless the ``whole`` is asked for."""
    shown = [one for one in found if whole or one.status != PASS]
    return [*([] if whole else folded(found)), *(line for one in shown for line in rows(one))]


def folded(found: list[Finding]) -> list[str]:
    """The names of what passes, those of one condition together: ``C1-a b e, M-a``."""
    names = [one.check for one in found if one.status == PASS]
    groups = itertools.groupby(names, lambda name: name.rpartition("-")[0] or name)
    told = ", ".join(" ".join([first, *(name.rpartition("-")[2] for name in rest)]) for _, (first, *rest) in groups)
    indent = " " * COLUMNS[0]
    return textwrap.wrap(told, WIDTH, initial_indent=PASS.ljust(len(indent)), subsequent_indent=indent)


def rows(one: Finding) -> list[str]:
    """A finding's row, its longer cells wrapped in their columns, and its note below."""
    lines = itertools.zip_longest(*cells(one.status, one.check, one.measured, one.limit), fillvalue="")
    told = ["".join(cell.ljust(width) for cell, width in zip(line, widths(), strict=True)) for line in lines]
    indent = " " * COLUMNS[0]
    note = textwrap.wrap(clean(one.note), WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [line.rstrip() for line in told + note]


def cells(*words: str) -> list[list[str]]:
    return [textwrap.wrap(clean(cell), width - 1) or [""] for cell, width in zip(words, widths(), strict=True)]


def widths() -> tuple[int, ...]:
    return (*COLUMNS, WIDTH - sum(COLUMNS))


def clean(words: str) -> str:
    """What a stranger named, without characters that would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
