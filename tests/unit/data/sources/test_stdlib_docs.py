"""golf/data/sources/stdlib_docs.py"""

import itertools

import pytest

from golf.data.sources import stdlib_docs
from golf.errors import InputError
from tests.helpers.file_tree import write_files

TOPICS = 'topics = {"while": "The while statement repeats.", "if": "The if statement chooses."}\n'


def make_library(folder, files):
    return write_files(folder, {"pydoc_data/topics.py": TOPICS, **files})


def read(root):
    """(name, text) of every document."""
    return [(document.name, document.text) for document in stdlib_docs.iter_documents(root)]


def test_topics_and_docstrings_become_one_document_each(tmp_path):
    root = make_library(
        tmp_path, {"b.py": '"""Module b."""\ndef f():\n    """Does f."""\n', "pack/a.py": '"""Module a."""\n'}
    )
    assert read(root) == [
        ("topics/if", "The if statement chooses."),
        ("topics/while", "The while statement repeats."),
        ("b.py", "Module b.\n\nDoes f."),
        ("pack/a.py", "Module a."),
    ]


def test_a_topic_and_each_docstring_is_a_section(tmp_path):
    root = make_library(tmp_path, {"b.py": '"""Module b."""\ndef f():\n    """Does f."""\n'})
    assert [document.sections for document in stdlib_docs.iter_documents(root)] == [
        ("The if statement chooses.",),
        ("The while statement repeats.",),
        ("Module b.", "Does f."),
    ]


def test_tests_and_installed_packages_are_left_out(tmp_path):
    names = ["test/x.py", "unittest/test/x.py", "idlelib/idle_test/x.py", "site-packages/x.py", "dist-packages/y/x.py"]
    root = make_library(tmp_path, dict.fromkeys(names, '"""Not this."""\n') | {"testing.py": '"""This."""\n'})
    assert [name for name, _ in read(root)][2:] == ["testing.py"]


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    root = make_library(tmp_path, {f"m{i}.py": f'"""Module {i}."""\n' for i in range(20)})
    before = list(stdlib_docs.iter_documents(root))
    listing = type(root).rglob
    monkeypatch.setattr(type(root), "rglob", lambda self, pattern: reversed(list(listing(self, pattern))))
    assert list(stdlib_docs.iter_documents(root)) == before


def test_no_module_is_imported_or_run(tmp_path):
    root = make_library(tmp_path, {"m.py": '"""Module."""\nraise SystemExit("ran")\n'})
    assert dict(read(root))["m.py"] == "Module."


@pytest.mark.parametrize("missing", ["topics", "sources"])
def test_an_interpreter_without_sources_is_rejected_with_a_hint(tmp_path, missing):
    if missing == "sources":
        make_library(tmp_path, {})
    with pytest.raises(InputError, match=r"fetch\.source: stdlib needs a Python with .*fetch\.source: files"):
        list(stdlib_docs.iter_documents(tmp_path))


def test_this_interpreter_has_megabytes_of_prose():
    documents = list(itertools.islice(stdlib_docs.iter_documents(), 120))
    names, texts = [document.name for document in documents], [document.text for document in documents]
    assert sum(name.startswith("topics/") for name in names) >= 60
    assert sum(map(len, texts)) > 400_000
    assert names[-10:] == sorted(names[-10:])
