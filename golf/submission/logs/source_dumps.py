"""Sources that a log prints: found, taken out of what is read as results, and compared with the files that are shipped.

The comparison counts lines as a multiset, in time linear in their number: a line that moved is no difference.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from golf.submission.logs.training_log import SourceDump

__all__ = ["DumpDifference", "compare_sources", "cut_sources", "split_source_lines"]

_GAP = r"[^\S\n]*+"
_SEPARATOR = re.compile(rf"(?m)^(?:={{40,}}+|-{{40,}}+|#{{40,}}+){_GAP}$")
_PYTHON_IMPORT = re.compile(rf"(?m)^{_GAP}(?:import|from)(?!\S)")
_PYTHON_DEFINITION = re.compile(rf"(?m)^{_GAP}(?:def|class|exec\b|@)(?![\w=])")
# num_layers = int(os.environ.get("NUM_LAYERS", 11)); NAME = 11; name: int = 11
_ENVIRON_DEFAULT = re.compile(r"(?:environ\.get|getenv)\(\s*+[\"'](\w{1,80})[\"']\s*+,\s*+([^\n]{1,80}?)\)")
_ASSIGNED_DEFAULT = re.compile(
    r"^[^\S\n]*+(\w{1,80})[^\S\n]*+(?::[^\S\n]*+\w{1,40}[^\S\n]*+)?=[^\S\n]*+"
    r"([-+]?[\d._]{1,40}(?:e[-+]?\d{1,4})?|\"[^\"\n]{0,80}\"|'[^'\n]{0,80}'|True|False|None)[^\S\n]*+,?[^\S\n]*+(?:#.*)?$"
)
_MAX_DEFAULT_LINES = 2_000  # of the lines that differ


@dataclass(frozen=True, slots=True)
class DumpDifference:
    """How a dumped source differs from a file.

    n_lines: lines that only one of the two has (the larger of the two counts). shared_frac: lines of the dump that the
    file has too. defaults: (name, value in the dump, value in the file), for defaults that both have.
    """

    n_lines: int
    shared_frac: float
    defaults: tuple[tuple[str, str, str], ...]


def cut_sources(text: str) -> tuple[str, list[SourceDump]]:
    """Replace the sections, between rows of ``=``, ``-`` or ``#``, that are Python by empty lines; return both."""
    edges = [0, *itertools.chain.from_iterable(match.span() for match in _SEPARATOR.finditer(text)), len(text)]
    if len(edges) == 2:
        return text, []
    parts: list[str] = []
    dumps: list[SourceDump] = []
    line = 1
    for start, end in itertools.pairwise(edges):
        section = text[start:end]
        n_newlines = section.count("\n")
        if _PYTHON_IMPORT.search(section) and _PYTHON_DEFINITION.search(section):
            first_line = line + len(section) - len(section.lstrip("\n"))
            dumps.append(SourceDump(tuple(split_source_lines(section)), first_line))
            section = "\n" * n_newlines
        parts.append(section)
        line += n_newlines
    return "".join(parts), dumps


def split_source_lines(text: str) -> list[str]:
    """Return the lines that are not blank, without white space at their ends."""
    return [stripped for line in text.split("\n") if (stripped := line.rstrip())]


def compare_sources(dumped: Sequence[str], shipped: Sequence[str]) -> DumpDifference:
    """Compare the lines of a dump with those of a file."""
    dumped_counts, shipped_counts = Counter(dumped), Counter(shipped)
    only_dumped, only_shipped = dumped_counts - shipped_counts, shipped_counts - dumped_counts
    n_only_dumped = only_dumped.total()
    dumped_defaults, shipped_defaults = _find_defaults(only_dumped), _find_defaults(only_shipped)
    names = [name for name in dumped_defaults if name in shipped_defaults]
    changed = tuple(
        (name, dumped_defaults[name], shipped_defaults[name])
        for name in names
        if dumped_defaults[name] != shipped_defaults[name]
    )
    return DumpDifference(max(n_only_dumped, only_shipped.total()), 1 - n_only_dumped / max(1, len(dumped)), changed)


def _find_defaults(lines: Counter[str]) -> dict[str, str]:
    defaults: dict[str, str] = {}
    for line in itertools.islice(lines, _MAX_DEFAULT_LINES):
        defaults_in_line = [match.groups() for match in _ENVIRON_DEFAULT.finditer(line[:2_000])]
        if not defaults_in_line and (match := _ASSIGNED_DEFAULT.match(line[:2_000])):
            defaults_in_line = [match.groups()]
        defaults |= {name: value.strip().strip("\"'") for name, value in defaults_in_line}
    return defaults
