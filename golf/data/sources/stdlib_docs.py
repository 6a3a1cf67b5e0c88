"""The embedded corpus: the documentation inside this Python installation.

One document for each pydoc help topic and one for each module's docstrings, parsed from the source files without
importing them. That is about 2.3 MB of English prose which every full installation has, so nothing is downloaded or
redistributed. It differs between Python versions: compare scores only where the manifest's source.sha256 is equal.
"""

import ast
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from golf.config.sections import FetchConfig
from golf.data.sources.interface import Corpus, SourceDocument
from golf.errors import InputError

__all__ = ["iter_documents", "read_corpus", "read_docstrings"]

_SKIPPED_DIRS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_TOPICS_FILE = "pydoc_data/topics.py"
_INSTALL_HINT = (
    "install a Python with its full standard library (on Debian: libpython3-stdlib), "
    "or put your own texts into fetch.path and set fetch.source: files"
)


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """The documentation of the running interpreter; uses no key of fetch. Raises as ``iter_documents``."""
    return Corpus(iter_documents(), {"python": platform.python_version()})


def iter_documents(root: Path | None = None) -> Iterator[SourceDocument]:
    """Every document: first the topics, then the modules, each sorted by name; a repeated docstring is left out.

    root: the standard library's folder, by default this interpreter's.
    Raises InputError for an interpreter without sources (zipped, frozen or stripped) or without pydoc_data.
    """
    root = Path(root or sysconfig.get_path("stdlib"))
    if not (root / _TOPICS_FILE).is_file():
        raise InputError(f"fetch.source: stdlib, but {root / _TOPICS_FILE} is missing; {_INSTALL_HINT}")
    names = sorted(_iter_sources(root))
    if not names:
        raise InputError(f"fetch.source: stdlib, but {root} holds no .py sources; {_INSTALL_HINT}")
    for topic, text in sorted(_load_topics(root / _TOPICS_FILE).items()):
        yield SourceDocument(f"topics/{topic}", text)
    seen: set[str] = set()
    for name in names:
        new_texts = [text for text in dict.fromkeys(read_docstrings(root / name)) if text not in seen]
        seen.update(new_texts)
        if new_texts:
            yield SourceDocument(name, "\n\n".join(new_texts))


def _iter_sources(root: Path) -> Iterator[str]:
    """Paths below root, with forward slashes, of all modules except tests, installed packages and the topics."""
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if _SKIPPED_DIRS.isdisjoint(name.parts[:-1]) and name.as_posix() != _TOPICS_FILE:
            yield name.as_posix()


def _load_topics(path: Path) -> dict[str, str]:
    """The literal ``topics`` of pydoc's data file."""
    for node in _parse_module(path).body:
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "topics" for name in node.targets):
            return {topic: _escape_surrogates(text) for topic, text in ast.literal_eval(node.value).items()}
    raise InputError(f"fetch.source: stdlib, but {path} defines no topics; {_INSTALL_HINT}")


def read_docstrings(path: Path) -> list[str]:
    """Docstrings of a module, its classes and functions, in line order, cleaned as help() shows them."""
    node_types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(_parse_module(path)) if isinstance(node, node_types)]
    owners.sort(key=lambda node: getattr(node, "lineno", 0))
    texts = (ast.get_docstring(node, clean=False) for node in owners)
    cleaned = (_escape_surrogates(inspect.cleandoc(text)) for text in texts if text)
    return [text for text in cleaned if text.strip()]


def _parse_module(path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers warn about
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"fetch.source: stdlib, but {path} can't be parsed ({error}); {_INSTALL_HINT}") from None


def _escape_surrogates(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8, by their escapes, as in the source file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
