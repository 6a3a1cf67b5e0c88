"""CSV tables read with checks: the columns that are wanted, each cell a number where one is wanted."""

import csv
import math
from collections.abc import Callable

from golf.ground import store
from golf.ground.errors import BadArtifact


def number(text: str) -> float:
    """A finite number. Raises ValueError."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not finite")
    return float(text)


def amount(text: str) -> float:
    """A finite number of at least 0. Raises ValueError."""
    if number(text) < 0:
        raise ValueError(f"{text} is below 0")
    return float(text)


def read(path, columns: dict[str, Callable]) -> list[dict]:
    """The rows, of these columns alone, each cell as its column's function makes it of the text.

    Raises BadArtifact: not a table, no rows, a column that is missing, a cell too many or too few, or not a number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadArtifact(path, f"not a table ({error})", store.RERUN) from None
    if not found:
        raise BadArtifact(path, "a table without rows", store.RERUN)
    if missing := columns.keys() - found[0].keys():
        raise BadArtifact(path, f"has no column {', '.join(sorted(missing))}", store.RERUN)
    rows = []
    for place, row in enumerate(found, start=1):
        if None in row or None in row.values():
            raise BadArtifact(path, f"row {place} has more or fewer cells than the head", store.RERUN)
        try:
            rows.append({name: kind(row[name]) for name, kind in columns.items()})
        except ValueError as error:
            raise BadArtifact(path, f"row {place}: {error}", store.RERUN) from None
    return rows


def grouped(rows: list[dict], key: str) -> dict[str, list[dict]]:
    """The rows by what they hold under ``key``, in the order of the table."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found
