"""CSV tables read with checks: the columns that are wanted, each cell a number where one is wanted."""

import csv
import math
from collections.abc import Callable

from golf.artifacts import io
from golf.errors import ArtifactError


def parse_finite(text: str) -> float:
    """A finite number. Raises ValueError."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not finite")
    return float(text)


def parse_non_negative(text: str) -> float:
    """A finite number of at least 0. Raises ValueError."""
    if parse_finite(text) < 0:
        raise ValueError(f"{text} is below 0")
    return float(text)


def read_csv(path, parsers: dict[str, Callable]) -> list[dict]:
    """The rows, of these columns alone, each cell as its column's function makes it of the text.

    Raises BadArtifact: not a table, no rows, a column that is missing, a cell too many or too few, or not a number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            raw_rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(path, f"not a table ({error})", io.RERUN_HINT) from None
    if not raw_rows:
        raise ArtifactError(path, "a table without rows", io.RERUN_HINT)
    if missing_columns := parsers.keys() - raw_rows[0].keys():
        raise ArtifactError(path, f"has no column {', '.join(sorted(missing_columns))}", io.RERUN_HINT)
    rows = []
    for row_number, row in enumerate(raw_rows, start=1):
        if None in row or None in row.values():
            raise ArtifactError(path, f"row {row_number} has more or fewer cells than the head", io.RERUN_HINT)
        try:
            rows.append({name: parse(row[name]) for name, parse in parsers.items()})
        except ValueError as error:
            raise ArtifactError(path, f"row {row_number}: {error}", io.RERUN_HINT) from None
    return rows


def group_by(rows: list[dict], key: str) -> dict[str, list[dict]]:
    """The rows by what they hold under ``key``, in the order of the table."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
