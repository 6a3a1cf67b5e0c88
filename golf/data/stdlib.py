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

from golf.ground.errors import BadInput

SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
TOPICS = "pydoc_data/topics.py"
CURE = (
    "install a Python with its full standard library (on Debian: libpython3-stdlib), "
    "or put your own texts into fetch.path and set fetch.source: files"
)


def documents(root: Path | None = None) -> Iterator[tuple[str, str]]:
    """(name, text) of every document, in the order of the names; a docstring met before is left out.

    root: the standard library's folder, this interpreter's by default.
    Raises BadInput on an interpreter without sources (zipped, frozen or stripped) or without pydoc_data.
    """
    root = Path(root or sysconfig.get_path("stdlib"))
    if not (root / TOPICS).is_file():
        raise BadInput(f"fetch.source: stdlib, but {root / TOPICS} is missing; {CURE}")
    names = sorted(sources(root))
    if not names:
        raise BadInput(f"fetch.source: stdlib, but {root} holds no .py sources; {CURE}")
    for topic, text in sorted(topics(root / TOPICS).items()):
        yield f"topics/{topic}", text
    met = set()
    for name in names:
        fresh = [text for text in dict.fromkeys(docstrings(root / name)) if text not in met]
        met.update(fresh)
        if fresh:
            yield name, "\n\n".join(fresh)


def sources(root: Path) -> Iterator[str]:
    """Paths below root, with forward slashes, of all modules but tests, installed packages and the topics."""
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if SKIPPED.isdisjoint(name.parts[:-1]) and name.as_posix() != TOPICS:
            yield name.as_posix()


def topics(path: Path) -> dict[str, str]:
    """The literal ``topics`` of pydoc's data file."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "topics" for name in node.targets):
            return {topic: printable(text) for topic, text in ast.literal_eval(node.value).items()}
    raise BadInput(f"fetch.source: stdlib, but {path} defines no topics; {CURE}")


def docstrings(path: Path) -> list[str]:
    """Docstrings of a module, its classes and functions, in the order of the lines."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]
    owners.sort(key=lambda node: getattr(node, "lineno", 0))
    texts = (ast.get_docstring(node, clean=False) for node in owners)
    cleaned = (printable(inspect.cleandoc(text)) for text in texts if text)
    return [text for text in cleaned if text.strip()]


def parsed(path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers complain of
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"fetch.source: stdlib, but {path} does not parse ({error}); {CURE}") from None


def printable(text: str) -> str:
    """Lone surrogates, which have no UTF-8, as the escapes that stand in the source."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
