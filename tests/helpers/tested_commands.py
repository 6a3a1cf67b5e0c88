"""Whether a test contains a command of the pages: the same program, subcommand and options, in any spelling.

A test may give the words to a shell, to a function such as ``tiny_project.dvc(folder, "repro")``, or to a ``main``.
"""

import ast
import functools
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from golf.artifacts.source_deps import find_import_closure
from tests.helpers.tiny_corpus import ROOT

_PUNCTUATION = re.compile(r"""\b(?:f|str)(?=["'(])|["'`()\[\],*]""")
_SHELL_WORDS = {"exit", "done", "git", "openssl"}
_PROGRAMS = {
    "golf": r"(?:golf|main)",
    "dvc": r"dvc(?: \S+(?: / \S+)?)?",  # tiny_project.dvc gets a folder first
    "make": "make",
    "for": "for",
}


def contains_command(command: str, files: Iterable[str]) -> bool:
    """Whether one of the tests, or what it imports from tests/, contains a command.

    command: as ``doc_pages.split_commands`` returns it. Words in capitals stand for any word, and so do the values of
    settings and addresses.
    """
    words = shlex.split(command)
    words = words[1:] if words[0] in ("do", "PYTHONPATH=.") else words
    return words[0] in _SHELL_WORDS or bool(_compile(words).search("\n".join(map(_read_words, files))))


@functools.cache
def _read_words(file: str) -> str:
    """The words of a file and of the modules of tests/ that it imports, without the punctuation of calls and lists."""
    if file.endswith(".py"):
        modules = [module for module in find_import_closure(file, root=ROOT) if module.startswith("tests/")]
        text = "\n".join(map(_read_code, modules))
    else:
        text = re.sub(r"(?m)^ *#.*", "", (ROOT / file).read_text(encoding="utf-8"))
    text = text.replace("sys.executable", "python").replace("DVC_EXECUTABLE", "dvc")
    return " ".join(_PUNCTUATION.sub(" ", text).split())


def _read_code(file: str) -> str:
    """A module without comments and docstrings, which only speak of commands."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _compile(words: list[str]) -> re.Pattern[str]:
    if words[0] == "export":
        patterns = [f"(?=.*{re.escape(word.partition('=')[0])})" for word in words[1:]]
        return re.compile("^" + "".join(patterns), re.DOTALL)
    if words[0] == "cp":
        return re.compile(" ".join([r"copy\S*", *(rf"(?:\S+ / )?{re.escape(word)}" for word in words[1:])]))
    if words[:2] == ["python", "-m"]:
        package, _, name = words[2].partition(".")
        calls = {"tools": rf"{name}\.main", "stages": f"run_stage_process {re.escape(name)}"}
        program, words = f"(?:python -m {re.escape(words[2])}|{calls[package]})", words[3:]
    elif words[0] == "python":  # a script, whose arguments a test may set apart from the call
        return re.compile(rf"(?<![\w.-]){re.escape(Path(words[1]).stem)}\.main(?![\w-])")
    else:
        program, words = _PROGRAMS[words[0]], words[1:]
    return re.compile(rf"(?<![\w-]){' '.join([program, *map(_word_pattern, words)])}(?![\w-])")


def _word_pattern(word: str) -> str:
    key, is_setting, _ = word.partition("=")
    if is_setting:
        return rf"{re.escape(key)}=\S+"
    return r"\S+" if word.isupper() or word.startswith("http") else re.escape(word)
