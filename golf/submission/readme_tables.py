"""The figures in a README.md: its tables of seeds, and the bits per byte that its text gives.

A table counts if one of its columns is called seed. Its other columns are told apart by their titles: bits per byte,
bytes and steps; columns of differences, gains and scores before quantization are not compared.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from golf.submission.claims import ReportedNumber, parse_number

__all__ = ["ReadmeClaims", "SeedRow", "parse_readme"]

_MAX_ROWS = 2_000
_MAX_LINE_CHARS = 4_000
_MARKUP = re.compile(r"[*`_~]|<[^>\n]{0,80}>|\\")
_RULE_CELL = re.compile(r":?-{1,80}:?")
_SEED_TITLE = re.compile(r"(?i)(?:rng |random )?seeds?\b.{0,20}")
_SEED_CELL = re.compile(r"(?i)(?:seed[ =:_]{0,2})?(\d{1,9})(?:\s.{0,40})?")
_BPB_TITLE = re.compile(
    r"(?i)\bbp[bp]\b|bits per byte|val_?bpb"
    r"|^(?:sliding|post-?ttt|pre-?ttt|ttt|final|score|quantized|round-?trip|int\d)\b"
)
_BYTES_TITLE = re.compile(r"(?i)\bbytes\b|\bartifact\b|\bsize\b|\btotal\b")
_STEPS_TITLE = re.compile(r"(?i)(?:train(?:ing)? )?steps?|stop step|step[ _]stop")
_OTHER_TITLE = re.compile(
    r"(?i)delta|gain|\bdiff|Δ|vs\b|improve|gap|cost|std|headroom|margin"
    r"|\bcode\b|under|/byte|ms\b|loss|time|avg|ttt s\b|\bp\b"
)
_BPB_CELL = re.compile(r"~?(\d\.\d{2,12})(?!\d)(?: ?bpb)?(?:[ (±+].{0,40})?", re.IGNORECASE)
_INTEGER_CELL = re.compile(r"(\d{1,3}(?:[,_ ]\d{3}){1,4}|\d{3,12})(?: ?(?:bytes|B))?(?:[ (].{0,40})?")
_LABELED_BPB = re.compile(
    r"(?i)\bval_?bpb\b[^\d\n]{0,30}(\d\.\d{2,12})(?!\d)|(?<![\d.])(\d\.\d{3,12})(?!\d)[*`_ ]{0,4}\s?(?:val_?)?bpb\b"
)
_ANY_SCORE = re.compile(r"(?<![\d.])(\d\.\d{3,12})(?![\d])")
_MAX_SCORES = 5_000


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One row of a table of seeds. bpbs: by the title of the column. sizes, steps: the integers of such columns."""

    seed: int
    line: int
    bpbs: dict[str, ReportedNumber] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    steps: int | None = None


@dataclass(frozen=True)
class ReadmeClaims:
    """tables: the tables of seeds, each with the line of its title row. labeled: numbers called bpb, with their lines.

    scores: all numbers of three decimals or more, as they may be scores.
    """

    tables: tuple[tuple[int, tuple[SeedRow, ...]], ...] = ()
    labeled: tuple[tuple[ReportedNumber, int], ...] = ()
    scores: tuple[ReportedNumber, ...] = ()


def parse_readme(text: str) -> ReadmeClaims:
    """Parse the Markdown of a README."""
    lines = [line[:_MAX_LINE_CHARS] for line in text.split("\n")]
    labeled = [
        (number, line_number)
        for line_number, line in enumerate(lines, start=1)
        for match in _LABELED_BPB.finditer(line)
        if (number := parse_number(match[1] or match[2]))
    ]
    scores = [number for match in _ANY_SCORE.finditer(text) if (number := parse_number(match[1]))]
    return ReadmeClaims(tuple(_find_tables(lines)), tuple(labeled[:_MAX_SCORES]), tuple(scores[:_MAX_SCORES]))


def _find_tables(lines: list[str]) -> Iterator[tuple[int, tuple[SeedRow, ...]]]:
    titles: list[str] | None = None
    rows: list[SeedRow] = []
    title_line = n_rows = 0
    for line_number, line in enumerate([*lines, ""], start=1):
        cells = _split_cells(line) if n_rows < _MAX_ROWS else None
        if cells is None:
            if titles and rows:
                yield title_line, tuple(rows)
            titles, rows = None, []
        elif titles is None:
            titles, title_line = cells, line_number
        elif row := _parse_row(titles, cells, line_number):
            rows.append(row)
            n_rows += 1


def _split_cells(line: str) -> list[str] | None:
    """The cells of a table's row, without markup; None for another line."""
    if line.count("|") < 2 and not line.lstrip().startswith("|"):
        return None
    return [_MARKUP.sub("", cell).strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _parse_row(titles: list[str], cells: list[str], line: int) -> SeedRow | None:
    """The figures of a row; None without a seed, as for the row of means and the rule below the titles."""
    seed: int | None = None
    bpbs: dict[str, ReportedNumber] = {}
    sizes: dict[str, int] = {}
    steps: int | None = None
    for title, cell in zip(titles, cells, strict=False):
        if _SEED_TITLE.fullmatch(title):
            match = _SEED_CELL.fullmatch(cell)
            seed = int(match[1]) if match else None
        elif _STEPS_TITLE.fullmatch(title):
            match = _INTEGER_CELL.fullmatch(cell)
            steps = int(re.sub(r"\D", "", match[1])) if match else None
        elif _OTHER_TITLE.search(title):
            continue
        elif (match := _BPB_CELL.fullmatch(cell)) and _BPB_TITLE.search(title):
            bpbs[title] = parse_number(match[1]) or ReportedNumber(0.0, 1.0)
        elif _BYTES_TITLE.search(title) and (match := _INTEGER_CELL.fullmatch(cell)):
            sizes[title] = int(re.sub(r"\D", "", match[1]))
    return None if seed is None or _RULE_CELL.fullmatch(cells[0]) else SeedRow(seed, line, bpbs, sizes, steps)
