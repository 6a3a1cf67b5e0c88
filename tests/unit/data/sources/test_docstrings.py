"""golf/data/sources/docstrings.py"""

import argparse
import ast
import gc
import inspect
from pathlib import Path

import pytest

from golf.data.sources.docstrings import read_docstrings
from golf.errors import InputError
from tests.helpers.file_tree import write_files


def read_source(tmp_path, source):
    return read_docstrings(write_files(tmp_path, {"m.py": source}) / "m.py", "the hint")


def test_a_docstring_is_found_however_deep_and_in_the_order_of_the_lines(tmp_path):
    source = (
        '"""First."""\nif 1:\n    class A:\n        """Second."""\n        async def f(self):\n'
        '            """Third.\n\n              indented\n            """\ntry:\n    pass\nexcept OSError:\n'
        '    def e():\n        """Fourth."""\nelse:\n    with a:\n        def w():\n            """Fifth."""\n'
        'finally:\n    def g():\n        """Sixth."""\nmatch a:\n    case 1:\n        def c():\n'
        '            """Seventh."""\nwhile 0:\n    pass\nelse:\n    def l():\n        """Eighth."""\n'
        'def h():\n    "  "\n'
    )
    assert read_source(tmp_path, source) == [
        "First.", "Second.", "Third.\n\nindented", "Fourth.", "Fifth.", "Sixth.", "Seventh.", "Eighth.",
    ]  # fmt: skip


def test_the_docstrings_of_a_real_module_are_those_of_all_its_nodes_in_line_order():
    path = Path(inspect.getsourcefile(argparse))
    tree = ast.parse(path.read_bytes())
    owners = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    texts = [ast.get_docstring(node) for node in sorted(owners, key=lambda node: getattr(node, "lineno", 0))]
    found = read_docstrings(path, "")
    assert found == list(dict.fromkeys(text for text in texts if text))
    assert found[0] == inspect.getdoc(argparse)


def test_a_docstring_that_a_module_repeats_is_kept_once(tmp_path):
    assert read_source(tmp_path, '"""Same."""\ndef f():\n    """Same."""\n') == ["Same."]


def test_old_escapes_and_lone_surrogates_do_no_harm(tmp_path):
    assert read_source(tmp_path, '"""A \\d and a \\ud800."""\n') == ["A \\d and a \\ud800."]


@pytest.mark.parametrize("source", ["def f(:\n", "x = '\0'\n", "# coding: no-such\n"])
def test_a_module_that_can_not_be_parsed_is_named_with_the_hint(tmp_path, source):
    with pytest.raises(InputError, match=r"m\.py: can't be parsed \(.*\); the hint"):
        read_source(tmp_path, source)
    assert gc.isenabled()


def test_a_file_that_can_not_be_read_is_named_once(tmp_path):
    with pytest.raises(InputError) as caught:
        read_docstrings(tmp_path / "missing.py", "the hint")
    assert str(caught.value) == f"{tmp_path / 'missing.py'}: can't be parsed (No such file or directory); the hint"
