"""Find the Python files of a submission that its script imports, without parsing or running them.

The text is untrusted, and Python's parser takes 10 s and 500 MB for each MB of a long list. So import
statements are found by a pattern that scans the text once, in linear time. It also finds those in strings and comments,
by which a file may be counted that is never imported; none that a statement names is missed. A script in a newer Python
is read as any other.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from golf.submission.safe_reader import SubmissionDir

__all__ = ["ModuleIndex"]

_CONTINUATION = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"#[^\n]*+")
_GAP = r"[^\S\n]"
_NAME = re.compile(r"(?:^|,)\s*+([\w.]++)")  # a and c of ``a as b, c``
# A statement stands at the start of a line or after a semicolon or colon, neither of which an import holds.
_IMPORT = re.compile(
    rf"(?m)(?:^|[;:]){_GAP}*+(?:"
    rf"import{_GAP}++([^;:\n]*+)|"
    rf"from{_GAP}*+([.\w]++(?:{_GAP}*+\.{_GAP}*+[\w.]++)*+){_GAP}*+import\b{_GAP}*+"
    rf"(?:\(([^():;]*+)|([^();:\n]*+)))"
)


class ModuleIndex:
    """The Python files of a folder by the names under which they can be imported."""

    def __init__(self, folder: SubmissionDir) -> None:
        files = [name for name in folder.list_files_with_suffix(".py") if name.endswith(".py")]
        self._max_depth = max((len(PurePosixPath(file).parts) for file in files), default=1)
        self._file_by_module = {_module_name(file): file for file in sorted(files)}

    def find_imports(self, file: str, text: str) -> set[str]:
        """Return the files that the import statements of a text may import, with the packages above them.

        file: the path of the text's file, relative to the folder. Its own folder is searched first, then the root.
        """
        package = PurePosixPath(file).parent.parts
        tops = {_top(module.removeprefix(f"{'.'.join(package)}.")) for module in self._file_by_module}
        tops |= {_top(module) for module in self._file_by_module}
        return self.find_modules(file, _list_imported_names(text, package, tops, self._max_depth))

    def find_modules(self, file: str, names: Iterable[str]) -> set[str]:
        """Return the files that modules of these dotted names are, beside ``file`` or below the root."""
        package = ".".join(PurePosixPath(file).parent.parts)
        files = set()
        for name in names:
            for module in (f"{package}.{name}" if package else name, name):
                if module in self._file_by_module:
                    files.add(self._file_by_module[module])
                    break
        return files


def _module_name(file: str) -> str:
    """a/b.py -> a.b, a/__init__.py -> a."""
    return ".".join(PurePosixPath(file.removesuffix("/__init__.py").removesuffix(".py")).parts)


def _list_imported_names(text: str, package: tuple[str, ...], tops: set[str], max_depth: int) -> set[str]:
    """Dotted names, of at most ``max_depth`` parts and below ``tops``, that a text may import, with the packages above.

    package: the parts of the package that the text's file lies in.
    """
    text = _CONTINUATION.sub(" ", text)
    versions = {text, _COMMENT.sub("", text)}  # a comment may cut a block in two, a # in a string is none
    names: set[str] = set()
    for modules, spaced_base, block, imported in set().union(*map(_IMPORT.findall, versions)):
        if not spaced_base:
            for name in {name for name in _NAME.findall(modules) if _top(name) in tops}:
                names.update(_prefixes(name, max_depth))
            continue
        base = "".join(spaced_base.split())
        level = len(base) - len(base.lstrip("."))
        parent = ".".join(package[: max(0, len(package) + 1 - level)]) if level else ""
        base = ".".join(part for part in (parent, base.lstrip(".")) if part)
        if base and _top(base) not in tops:
            continue
        names.update(_prefixes(base, max_depth))
        if base.count(".") + 1 < max_depth:
            names.update(f"{base}.{name}" if base else name for name in set(_NAME.findall(block or imported)))
    return names


def _top(name: str) -> str:
    return name.partition(".")[0]


def _prefixes(name: str, max_depth: int) -> Iterable[str]:
    """a.b.c -> a, a.b, a.b.c, of at most ``max_depth`` parts."""
    parts = name.split(".", max_depth)[:max_depth]
    return (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
