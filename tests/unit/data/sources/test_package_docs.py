"""golf/data/sources/package_docs.py"""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.config import loader
from golf.data.sources import package_docs
from golf.errors import InputError
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_corpus import ROOT

FETCH_CONFIG = loader.load_config(ROOT / "profiles/laptop.yaml").fetch


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder on the path in place of the installed packages: each has a module, and its own test and build files."""
    for name in package_docs.PACKAGES:
        files = {"__init__.py": f'"""Package {name}."""\n', "pack/module.py": f'"""Module of {name}."""\n'}
        write_files(tmp_path / name, files | {"tests/test_a.py": '"""A test."""\n'})
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: importlib.util.spec_from_file_location(name, tmp_path / name / "__init__.py"),
    )
    monkeypatch.setattr(package_docs, "get_installed_version", lambda name: f"{package_docs.PACKAGES[name]}+cpu")
    return tmp_path


def read(package, root):
    return [(document.name, document.text) for document in package_docs.iter_package(package, root)]


def test_every_module_with_docstrings_is_a_document_whose_sections_they_are(tmp_path):
    files = {"b.py": '"""B."""\ndef f():\n    """Does f."""\n', "a/c.py": '"""C."""\n', "a/none.py": "x = 1\n"}
    documents = list(package_docs.iter_package("torch", write_files(tmp_path, files)))
    assert [(row.name, row.text, row.sections) for row in documents] == [
        ("torch/a/c.py", "C.", ("C.",)),
        ("torch/b.py", "B.\n\nDoes f.", ("B.", "Does f.")),
    ]


def test_only_the_packages_that_the_predictor_does_not_import_can_be_held_out(packages):
    corpus = package_docs.read_corpus(FETCH_CONFIG)
    names = {row.name for row in corpus.documents if row.can_be_held_out}
    assert names == {f"{name}/{file}" for name in ("networkx", "scipy") for file in ("__init__.py", "pack/module.py")}


def test_tests_and_what_differs_between_wheels_are_left_out(tmp_path):
    names = ["tests/a.py", "a/test/b.py", "testing/c.py", "_testing/c.py", "test_d.py", "a/conftest.py", "version.py"]
    names += ["__config__.py", "_distributor_init.py", "distutils/core.py", "distutils/command/build.py"]
    kept = ["attest.py", "contest/a.py", "a/version.py", "a/distutils/b.py", "tests.py", "latest_a.py"]
    root = write_files(tmp_path, dict.fromkeys([*names, *kept], '"""Text."""\n'))
    assert [name for name, _ in read("numpy", root)] == sorted(f"numpy/{name}" for name in kept)
    assert "sympy/version.py" in dict(read("sympy", root))


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    root = write_files(tmp_path, {f"{'ab'[i % 2]}/m{i}.py": f'"""Module {i}."""\n' for i in range(20)})
    before, listing = read("scipy", root), Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(listing(self, pattern))))
    assert read("scipy", root) == before


def test_the_manifest_identifies_each_package_and_the_build_files(packages):
    write_files(packages, {"torch/version.py": "git = 'a'\n", "scipy/version.py": "git = 'b'\n"})
    corpus = package_docs.read_corpus(FETCH_CONFIG)
    assert [row.name for row in corpus.documents] == [
        f"{name}/{file}" for name in package_docs.PACKAGES for file in ("__init__.py", "pack/module.py")
    ]
    before = corpus.provenance
    assert before["packages"]["torch"]["version"] == f"{package_docs.PACKAGES['torch']}+cpu"
    assert {row["documents"] for row in before["packages"].values()} == {2}
    assert before["build_files"] == {
        name: io.sha256_file(packages / name) for name in ("torch/version.py", "scipy/version.py")
    }
    write_files(packages, {"sympy/pack/module.py": '"""Another text."""\n', "numpy/new.py": "x = 1\n"})
    corpus = package_docs.read_corpus(FETCH_CONFIG)
    list(corpus.documents)
    after = corpus.provenance["packages"]
    assert {name for name in after if after[name] != before["packages"][name]} == {"sympy"}


def test_another_version_than_the_pinned_one_is_said(packages, monkeypatch, capfd):
    list(package_docs.read_corpus(FETCH_CONFIG).documents)
    assert "pins" not in capfd.readouterr().err
    versions = dict(package_docs.PACKAGES) | {"scipy": "1.0", "sympy": None}
    monkeypatch.setattr(package_docs, "get_installed_version", versions.get)
    list(package_docs.read_corpus(FETCH_CONFIG).documents)
    lines = [line for line in capfd.readouterr().err.splitlines() if "pins" in line]
    assert len(lines) == 2
    assert "sympy of no known version is installed, pyproject.toml pins 1.14.0" in lines[0]
    assert f"scipy 1.0 is installed, pyproject.toml pins {package_docs.PACKAGES['scipy']}" in lines[1]


def test_a_module_that_does_not_parse_is_named_with_what_to_do(packages):
    write_files(packages, {"networkx/bad.py": "def f(:\n"})
    with pytest.raises(InputError, match=r"networkx/bad\.py: can't be parsed .*pip install.*fetch\.source: files"):
        list(package_docs.read_corpus(FETCH_CONFIG).documents)


@pytest.mark.parametrize("spec", [None, importlib.util.spec_from_file_location("sympy", "/none/sympy/__init__.py")])
def test_a_missing_package_is_named_before_anything_is_read(packages, monkeypatch, spec):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "sympy" else found(name))
    with pytest.raises(InputError, match=r"sympy: no such package .*fetch\.source: docs needs"):
        package_docs.read_corpus(FETCH_CONFIG)


def test_pyproject_pins_the_versions_of_the_corpus():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(entry.split("==") for entry in project["dependencies"] if entry.split("==")[0] in package_docs.PACKAGES)
    assert pins == package_docs.PACKAGES


def test_a_real_package_has_its_docstrings():
    documents = package_docs.iter_package("networkx", package_docs.find_package("networkx"))
    assert "NetworkX" in next(documents).text
