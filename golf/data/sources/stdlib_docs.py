"""The embedded corpus: what this Python says about itself in English.

One document for each help topic of pydoc and one for each module's docstrings, read from the source files without
importing them: about 2.3 MB of prose that every full installation has, so nothing is downloaded or redistributed.
It differs between Python versions; compare scores only where the manifest's source.sha256 is equal.
"""

import ast
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from golf.errors import InputError

_SKIPPED_DIRS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_TOPICS_FILE = "pydoc_data/topics.py"
_INSTALL_HINT = (
    "install a Python with its full standard library (on Debian: libpython3-stdlib), "
    "or put your own texts into fetch.path and set fetch.source: files"
)


def iter_documents(root: Path | None = None) -> Iterator[tuple[str, str]]:
    """(name, text) of every document, in the order of the names; a docstring met before is left out.

    root: the standard library's folder, this interpreter's by default.
    Raises BadInput on an interpreter without sources (zipped, frozen or stripped) or without pydoc_data.
    """
    root = Path(root or sysconfig.get_path("stdlib"))
    if not (root / _TOPICS_FILE).is_file():
        raise InputError(f"fetch.source: stdlib, but {root / _TOPICS_FILE} is missing; {_INSTALL_HINT}")
    names = sorted(_iter_sources(root))
    if not names:
        raise InputError(f"fetch.source: stdlib, but {root} holds no .py sources; {_INSTALL_HINT}")
    for topic, text in sorted(_load_topics(root / _TOPICS_FILE).items()):
        yield f"topics/{topic}", text
    seen = set()
    for name in names:
        new_texts = [text for text in dict.fromkeys(read_docstrings(root / name)) if text not in seen]
        seen.update(new_texts)
        if new_texts:
            yield name, "\n\n".join(new_texts)


def _iter_sources(root: Path) -> Iterator[str]:
    """Paths below root, with forward slashes, of all modules but tests, installed packages and the topics."""
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
    """Docstrings of a module, its classes and functions, in the order of the lines."""
    node_types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(_parse_module(path)) if isinstance(node, node_types)]
    owners.sort(key=lambda node: getattr(node, "lineno", 0))
    texts = (ast.get_docstring(node, clean=False) for node in owners)
    cleaned = (_escape_surrogates(inspect.cleandoc(text)) for text in texts if text)
    return [text for text in cleaned if text.strip()]


def _parse_module(path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers complain of
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"fetch.source: stdlib, but {path} does not parse ({error}); {_INSTALL_HINT}") from None


def _escape_surrogates(text: str) -> str:
    """Lone surrogates, which have no UTF-8, as the escapes that stand in the source."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
