"""The documentation inside this Python installation.

One document for each pydoc help topic and one for each module's docstrings, parsed from the source files without
importing them. That is about 2.3 MB of English prose which every full installation has, so nothing is downloaded or
redistributed. It differs between Python versions: compare scores only where the manifest's source.sha256 is equal.
"""

import ast
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from golf.config.sections import FetchConfig
from golf.data.sources.docstrings import escape_surrogates, parse_module, read_docstrings
from golf.data.sources.interface import Corpus, SourceDocument
from golf.errors import InputError

__all__ = ["iter_documents", "read_corpus"]

_SKIPPED_DIRS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_TOPICS_FILE = "pydoc_data/topics.py"
_INSTALL_HINT = (
    "fetch.source: stdlib needs a Python with its full standard library (on Debian: libpython3-stdlib); "
    "or set fetch.source: docs, or put your own texts into fetch.path and set fetch.source: files"
)


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """Return the documentation of the running interpreter; uses no key of fetch. Raises as ``iter_documents``."""
    return Corpus(iter_documents(), {"python": platform.python_version()})


def iter_documents(root: Path | None = None) -> Iterator[SourceDocument]:
    """Yield every document: first the topics, then the modules, each sorted by name.

    root: the standard library's folder, by default this interpreter's.
    Raises InputError for an interpreter without sources (zipped, frozen or stripped) or without pydoc_data.
    """
    root = Path(root or sysconfig.get_path("stdlib"))
    if not (root / _TOPICS_FILE).is_file():
        raise InputError(f"{root / _TOPICS_FILE}: no such file; {_INSTALL_HINT}")
    names = sorted(_iter_sources(root))
    if not names:
        raise InputError(f"{root}: holds no .py sources; {_INSTALL_HINT}")
    for topic, text in sorted(_load_topics(root / _TOPICS_FILE).items()):
        yield SourceDocument.from_sections(f"topics/{topic}", [text])
    for name in names:
        if sections := read_docstrings(root / name, _INSTALL_HINT):
            yield SourceDocument.from_sections(name, sections)


def _iter_sources(root: Path) -> Iterator[str]:
    """Paths below root, with forward slashes, of all modules except tests, installed packages and the topics."""
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if _SKIPPED_DIRS.isdisjoint(name.parts[:-1]) and name.as_posix() != _TOPICS_FILE:
            yield name.as_posix()


def _load_topics(path: Path) -> dict[str, str]:
    """The literal ``topics`` of pydoc's data file."""
    for node in parse_module(path, _INSTALL_HINT).body:
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "topics" for name in node.targets):
            return {topic: escape_surrogates(text) for topic, text in ast.literal_eval(node.value).items()}
    raise InputError(f"{path}: defines no topics; {_INSTALL_HINT}")
