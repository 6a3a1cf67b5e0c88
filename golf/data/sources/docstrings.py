"""Docstrings of Python source files, parsed without importing them."""

import ast
import contextlib
import gc
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

from golf.errors import InputError

__all__ = ["escape_surrogates", "parse_module", "read_docstrings"]

_Owner = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# The fields of a statement that hold statements, in the order in which they stand in the file. No other field can hold
# a docstring, so expressions, which are most of a tree, are not visited.
_BLOCK_FIELDS = ("body", "handlers", "cases", "orelse", "finalbody")


def read_docstrings(path: Path, hint: str) -> list[str]:
    """Return the docstrings of a module, its classes and functions, in line order, cleaned as by help(), each once.

    hint: what to do about a file that can't be parsed. Raises InputError naming the file.
    """
    with _pause_gc():
        texts = [ast.get_docstring(owner, clean=False) for owner in _iter_owners(parse_module(path, hint))]
    cleaned = (escape_surrogates(inspect.cleandoc(text)) for text in texts if text)
    return list(dict.fromkeys(text for text in cleaned if text.strip()))


def _iter_owners(root: ast.AST) -> Iterator[_Owner]:
    """The nodes of a tree that may have a docstring, in line order. A stack, as code nests deeper than calls may."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, _Owner):
            yield node
        children = [child for field in _BLOCK_FIELDS for child in getattr(node, field, ())]
        stack += reversed(children)


@contextlib.contextmanager
def _pause_gc() -> Iterator[None]:
    """Trees have no reference cycles, and while one is built the collector would take longer than the parser."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse_module(path: Path, hint: str) -> ast.Module:
    """Return the syntax tree of a source file. Raises InputError naming the file, with ``hint``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers warn about
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: can't be parsed ({reason}); {hint}") from None


def escape_surrogates(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8, by their escapes, as in the source file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
