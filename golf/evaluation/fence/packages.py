"""Which installed packages a predictor may read: those that its code imports, and what these require."""

import ast
import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from golf.evaluation.fence.corpus_sources import CorpusSources

__all__ = ["InstalledPackages", "list_imports"]

_REQUIREMENT = re.compile(r"Requires-Dist:\s*([A-Za-z0-9._-]+)(.*)")


@dataclass(frozen=True)
class _Distribution:
    """entries: what it put directly into its folder of packages. requires: distributions, without those of extras."""

    name: str
    folder: Path
    entries: frozenset[str]
    requires: frozenset[str]


def list_imports(sources: Mapping[str, bytes]) -> set[str]:
    """Return top-level names that Python sources import, wherever in the file; those of their own files too."""
    names: set[str] = set()
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source, filename=file)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


class InstalledPackages:
    """What lies in folders of packages, as the records of its distributions list it."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = [Path(folder) for folder in folders]
        record_paths = (path for folder in self._folders for path in sorted(folder.glob("*.dist-info")))
        installed = [_read_distribution(path) for path in record_paths]
        self._distributions = {distribution.name: distribution for distribution in reversed(installed)}

    def choose(self, imports: Collection[str], corpus: CorpusSources, *, compiles: bool) -> set[Path]:
        """Return the files and folders of packages that code with these imports may read.

        A package of the corpus is among them only if it is imported, and never one of dev and val: a requirement of
        another package, such as torch's sympy, is imported before the fence is raised where it is needed.
        compiles: the compiler needs the corpus's other packages too.
        """
        by_entry = {
            entry.partition(".")[0]: distribution
            for distribution in self._distributions.values()
            for entry in distribution.entries
        }
        withheld = corpus.held_out_packages | (frozenset() if compiles else corpus.packages - {*imports})
        chosen: dict[str, _Distribution] = {}
        pending = [by_entry[name].name for name in imports if name in by_entry]
        while pending:
            distribution = self._distributions.get(pending.pop())
            if distribution is None or distribution.name in chosen or distribution.name in withheld:
                continue
            chosen[distribution.name] = distribution
            pending += distribution.requires
        paths = {distribution.folder / entry for distribution in chosen.values() for entry in distribution.entries}
        paths |= {folder / name for folder in self._folders for name in imports if name not in by_entry}
        compiled = {Path(importlib.util.cache_from_source(path)) for path in paths if path.suffix == ".py"}
        return {path for path in paths | compiled if path.exists() and path.name not in withheld}

    def list_others(self, chosen: Collection[Path]) -> list[str]:
        """Return top-level names of installed modules that are not among ``chosen``, which an import must not find."""
        names = {path.name.partition(".")[0] for path in chosen}
        return sorted(
            {
                entry.name.partition(".")[0]
                for folder in self._folders
                if folder.is_dir()
                for entry in folder.iterdir()
                if not entry.name.endswith((".dist-info", ".libs", ".pth", "__pycache__"))
            }
            - names
        )


def _read_distribution(info: Path) -> _Distribution:
    """A distribution from its RECORD and METADATA; one without them has no entries."""
    record, metadata = (_read_text(info / name) for name in ("RECORD", "METADATA"))
    first_parts = {line.partition(",")[0].strip('"').partition("/")[0] for line in record.splitlines()}
    requirements = [match for line in metadata.partition("\n\n")[0].splitlines() if (match := _REQUIREMENT.match(line))]
    return _Distribution(
        _normalize(info.name.partition("-")[0]),
        info.parent,
        frozenset(first_parts - {"", "..", "__pycache__"}),
        frozenset(_normalize(match[1]) for match in requirements if "extra ==" not in match[2].replace("  ", " ")),
    )


def _normalize(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
