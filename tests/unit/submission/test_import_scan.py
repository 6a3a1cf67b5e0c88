"""golf/submission/import_scan.py: the files that a script imports, as Python's own parser finds them"""

import time

import pytest

from golf.artifacts.source_deps import find_import_closure
from golf.submission import import_scan, safe_reader
from tests.helpers.tiny_corpus import ROOT

FILES = ("a.py", "b/__init__.py", "b/c.py", "b/d/__init__.py", "b/d/e.py", "f.py")
HOSTILE = {
    "a list": "[" + "1," * 100_000 + "]",
    "statements": "import a\n" * 20_000,
    "names": "import " + "a," * 100_000,
    "other names": "".join(f"import a{number}\n" for number in range(20_000)),
    "open blocks": "from a import (\n" * 12_000,
    "colons": ":from" * 40_000,
    "dots": "import " + "a." * 100_000,
    "spaced dots": "from " + "a . " * 50_000,
    "spaces": " " * 200_000,
    "hashes": "#" * 200_000,
    "continuations": "\\\n" * 100_000,
}


def find(folder, script: str = "s.py") -> list[str]:
    return follow(folder if isinstance(folder, safe_reader.SubmissionDir) else safe_reader.scan_folder(folder), script)


def follow(folder: safe_reader.SubmissionDir, script: str) -> list[str]:
    modules, reached, pending = import_scan.ModuleIndex(folder), set(), [script]
    while pending:
        file = pending.pop()
        if file not in reached:
            reached.add(file)
            pending += modules.find_imports(file, (folder.root / file).read_text())
    return sorted(reached)


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "script",
    [
        "import a",
        "import a as x, b.c, f",
        "import b.d.e",
        "from b import c, d",
        "from b.d import (\n    e,  # see: f; (c)\n)",
        "from b import \\\n    c",
        "if 1: import a\nx = 1; from b.d import e as y",
        "def g():\n\tfrom f import *",
        "try:\n    import os, torch.nn\nexcept ImportError: import b.c",
        "important = 1\nfromage = 2\nx.imports = 3",
    ],
)
def test_the_files_are_those_of_pythons_parser(folder, script):
    (folder / "s.py").write_text(script)
    assert find(folder) == find_import_closure("s.py", root=folder)


def test_imports_are_followed_from_file_to_file_once(folder):
    (folder / "s.py").write_text("import a, s")
    (folder / "a.py").write_text("import b.d.e")
    (folder / "b/d/e.py").write_text("from ..c import x\nfrom ... import f\nimport a")
    assert find(folder) == sorted({*FILES, "s.py"})
    (folder / "s.py").write_text("from . import f\nfrom .b import c")
    assert {"f.py", "b/c.py"} <= {*find(folder)}


def test_our_own_imports_are_found_as_the_parser_finds_them():
    folder = safe_reader.SubmissionDir(ROOT, dict.fromkeys(find_import_closure("stages/evaluate.py", root=ROOT), 1))
    assert find(folder, "stages/evaluate.py") == sorted(folder.sizes)


def test_what_looks_like_an_import_in_a_string_is_counted_and_none_is_missed(folder):
    (folder / "s.py").write_text('x = "#"; import a\ny = """\nimport f\n"""')
    assert find(folder) == ["a.py", "f.py", "s.py"]


@pytest.mark.soak
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(folder, name):
    (folder / "s.py").write_text(HOSTILE[name])
    started_at = time.process_time()
    find(folder)
    assert time.process_time() - started_at < 10 * 0.5 * len(HOSTILE[name]) / 1e6, "ten times what is allowed"
