"""Findings as text: a row a check, longer cells wrapped in their columns, notes below; 80 columns."""

import itertools
import textwrap

from golf.rules.finding import Finding

WIDTH = 80  # columns of the smallest terminal
COLUMNS = (8, 14, 36)  # status, check, measured; the limit takes what is left


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
