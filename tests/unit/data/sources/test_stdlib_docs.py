"""golf/data/sources/stdlib_docs.py"""

import ast
import inspect
from pathlib import Path

import pytest

from golf.data.sources import stdlib_docs
from golf.errors import InputError

TOPICS = 'topics = {"while": "The while statement repeats.", "if": "The if statement chooses."}\n'


def make_library(folder, files):
    for name, text in {"pydoc_data/topics.py": TOPICS, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_topics_and_docstrings_become_one_document_each(tmp_path):
    root = make_library(
        tmp_path, {"b.py": '"""Module b."""\ndef f():\n    """Does f."""\n', "pack/a.py": '"""Module a."""\n'}
    )
    assert list(stdlib_docs.iter_documents(root)) == [
        ("topics/if", "The if statement chooses."),
        ("topics/while", "The while statement repeats."),
        ("b.py", "Module b.\n\nDoes f."),
        ("pack/a.py", "Module a."),
    ]


def test_a_docstring_is_found_however_deep_and_in_the_order_of_the_lines(tmp_path):
    source = (
        '"""First."""\nif 1:\n    class A:\n        """Second."""\n        async def f(self):\n'
        '            """Third.\n\n              indented\n            """\ntry:\n    pass\nfinally:\n'
        '    def g():\n        """Fourth."""\ndef h():\n    "  "\n'
    )
    root = make_library(tmp_path, {"m.py": source})
    assert dict(stdlib_docs.iter_documents(root))["m.py"] == "First.\n\nSecond.\n\nThird.\n\nindented\n\nFourth."


def test_a_repeated_docstring_is_kept_once(tmp_path):
    root = make_library(tmp_path, {"a.py": '"""Same."""\ndef f():\n    """Same."""\n', "b.py": '"""Same."""\n'})
    assert [name for name, _ in stdlib_docs.iter_documents(root)] == ["topics/if", "topics/while", "a.py"]


def test_tests_and_installed_packages_are_left_out(tmp_path):
    names = ["test/x.py", "unittest/test/x.py", "idlelib/idle_test/x.py", "site-packages/x.py", "dist-packages/y/x.py"]
    root = make_library(tmp_path, dict.fromkeys(names, '"""Not this."""\n') | {"testing.py": '"""This."""\n'})
    assert [name for name, _ in stdlib_docs.iter_documents(root)][2:] == ["testing.py"]


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    root = make_library(tmp_path, {f"m{i}.py": f'"""Module {i}."""\n' for i in range(20)})
    before = list(stdlib_docs.iter_documents(root))
    listing = type(root).rglob
    monkeypatch.setattr(type(root), "rglob", lambda self, pattern: reversed(list(listing(self, pattern))))
    assert list(stdlib_docs.iter_documents(root)) == before


def test_no_module_is_imported_or_run(tmp_path):
    root = make_library(tmp_path, {"m.py": '"""Module."""\nraise SystemExit("ran")\n'})
    assert dict(stdlib_docs.iter_documents(root))["m.py"] == "Module."


def test_old_escapes_and_lone_surrogates_do_no_harm(tmp_path):
    root = make_library(tmp_path, {"m.py": '"""A \\d and a \\ud800."""\n'})
    assert dict(stdlib_docs.iter_documents(root))["m.py"] == "A \\d and a \\ud800."


@pytest.mark.parametrize("missing", ["topics", "sources"])
def test_an_interpreter_without_sources_is_rejected_with_a_hint(tmp_path, missing):
    if missing == "sources":
        make_library(tmp_path, {})
    with pytest.raises(InputError, match=r"fetch\.source: stdlib.*install a Python.*fetch\.source: files"):
        list(stdlib_docs.iter_documents(tmp_path))


def test_this_interpreter_has_megabytes_of_prose():
    documents = stdlib_docs.iter_documents()
    names, texts = zip(*(next(documents) for _ in range(120)), strict=True)
    assert sum(name.startswith("topics/") for name in names) >= 60
    assert sum(map(len, texts)) > 400_000
    assert list(names[-10:]) == sorted(names[-10:])


def test_docstrings_are_those_that_help_would_show():
    source = inspect.getsourcefile(ast)
    assert stdlib_docs.read_docstrings(Path(source))[0] == inspect.getdoc(ast)
