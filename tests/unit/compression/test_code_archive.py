"""golf/compression/code_archive.py: the code that is weighed is minified once, and what runs is what was weighed"""

import ast
import io
import lzma
import os
import tarfile

import pytest

from golf.artifacts.source_deps import find_import_closure
from golf.compression import code_archive
from golf.errors import ArtifactError
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_corpus import ROOT

SOURCE = '''"""A module."""
from dataclasses import dataclass
__all__ = ["Row"]
LIMIT: int = 3  # a reason
later: list[int]


@dataclass(frozen=True)
class Row:
    """A row."""

    name: str  # kept: dataclass reads it
    size: int = 2

    def total(self, factor: int = 1, *rest: int, key: str = "a", **more: int) -> int:
        """The size."""
        found: int = self.size * factor
        unset: int
        return found + sum(rest) + len(key) + len(more)


class Empty:
    """Nothing but words."""


def empty() -> None:
    """Nothing but words."""


async def waits(x: int) -> int:
    """Nothing yet."""
    return x


text = """not a docstring"""
'''


def names(source: bytes | str) -> set[str]:
    tree = ast.parse(source)
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_minified_code_does_the_same_without_comments_docstrings_and_annotations():
    small = code_archive.minify(SOURCE.encode(), "row.py").decode()
    before, after = {}, {}
    exec(SOURCE, before)
    exec(small, after)
    for scope in (before, after):
        row = scope["Row"]("x")
        assert (row.total(2, 3, key="bb", c=1), scope["empty"](), scope["LIMIT"]) == (10, None, 3)
        assert repr(row) == "Row(name='x', size=2)"
        assert scope["text"] == "not a docstring"
    assert after["Row"].__annotations__ == {"name": str, "size": int}
    assert after["Row"].__doc__ == "Row(name: str, size: int = 2)", "what dataclass writes itself"
    assert (after.get("__doc__"), after["Empty"].__doc__, after["empty"].__doc__, after["waits"].__doc__) == (None,) * 4
    assert after["Row"].total.__annotations__ == after["waits"].__annotations__ == {}
    assert "#" not in small
    assert "__all__" not in small


def test_names_imported_for_annotations_alone_are_dropped():
    source = """
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self as Me
import typing

class P(Protocol):
    later: "Callable"

def f(x: Any) -> Iterator[Me]: ...
"""
    small = code_archive.minify(source.encode(), "p.py").decode()
    assert "from collections.abc import Callable\n" in small
    assert "from typing import Protocol\n" in small
    assert "import typing\n" in small
    assert not {"Any", "Iterator", "Self"} & set(small.replace(",", " ").split())


def test_whitespace_inside_strings_stays():
    source = 'def f(x):\n    return f"""{x}\n    a\n\n\n        b"""\n'
    scope = {}
    exec(code_archive.minify(source.encode(), "f.py"), scope)
    assert scope["f"](1) == "1\n    a\n\n\n        b"


def test_names_stay():
    types = {"int", "str", "list"}
    assert names(code_archive.minify(SOURCE.encode(), "row.py")) - types == names(SOURCE) - types - {
        "later",
        "unset",
        "__all__",
    }


def test_all_code_that_is_weighed_survives_minification_and_a_second_one_changes_nothing():
    for file in find_import_closure("golf/inference/predictor.py", root=ROOT):
        once = code_archive.minify((ROOT / file).read_bytes(), file)
        assert code_archive.minify(once, file) == once
        docstrings = [
            ast.get_docstring(n)
            for n in ast.walk(ast.parse(once))
            if hasattr(n, "body") and isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
        ]
        assert docstrings == [None] * len(docstrings), file


def test_no_weighed_code_needs_the_all_that_minification_drops():
    for file in find_import_closure("golf/inference/predictor.py", root=ROOT):
        tree = ast.parse((ROOT / file).read_bytes())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "*" not in {alias.name for node in imports for alias in node.names}, file
        assert "__all__" not in code_archive.minify((ROOT / file).read_bytes(), file).decode(), file


FILES = {"pkg/__init__.py": "", "pkg/a.py": "def thing():\n    return 1\n"}


@pytest.fixture
def root(tmp_path):
    return write_files(tmp_path, FILES)


def test_the_archives_bytes_depend_on_names_and_code_alone(root):
    first = code_archive.pack(list(FILES), root)
    for name in FILES:
        os.utime(root / name, (1, 1))
        (root / name).chmod(0o600)
    (root / "pkg/a.py").write_text('"""Words."""\n\n# a reason\n' + FILES["pkg/a.py"])
    assert code_archive.pack(list(FILES)[::-1], root) == first
    assert code_archive.unpack(first, "code") == {"pkg/__init__.py": b"\n", "pkg/a.py": b"def thing():\n return 1\n"}
    (root / "pkg/a.py").write_text(FILES["pkg/a.py"].replace("1", "2"))
    assert code_archive.pack(list(FILES), root) != first


def test_golf_load_is_packed_with_no_byte(tmp_path):
    files = {"golf/__init__.py": "", "golf/a/__init__.py": "x = 1\n"}
    empty = code_archive.pack(list(files), write_files(tmp_path / "empty", files))
    files["golf/__init__.py"] = (ROOT / "golf/__init__.py").read_text(encoding="utf-8")
    assert code_archive.pack(list(files), write_files(tmp_path / "lazy", files)) == empty
    assert code_archive.unpack(empty, "code") == {"golf/__init__.py": b"\n", "golf/a/__init__.py": b"x = 1\n"}


def archive(**entries) -> bytes:
    """A .tar.xz of entries: name -> TarInfo type."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind in entries.items():
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
    return lzma.compress(packed.getvalue())


@pytest.mark.parametrize("name", ["/etc/a.py", "../a.py", "pkg/../../a.py", "a.so", "a", "./a.py", "pkg//a.py"])
def test_a_path_that_leads_out_and_what_is_no_source_are_refused(name):
    with pytest.raises(ArtifactError, match=r"must hold \.py files at relative paths"):
        code_archive.unpack(archive(**{name: tarfile.REGTYPE}), "code.tar.xz")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_are_refused(kind):
    with pytest.raises(ArtifactError, match=r"must hold \.py files"):
        code_archive.unpack(archive(**{"a.py": kind}), "code.tar.xz")


def test_an_archive_that_is_damaged_cut_short_or_followed_by_something_is_refused_by_name(root):
    whole = code_archive.pack(list(FILES), root)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", b"PK", whole[:-1], whole[: len(whole) // 2], bytes(flipped), whole + b"x"):
        with pytest.raises(ArtifactError, match=r"code\.tar\.xz: "):
            code_archive.unpack(data, "code.tar.xz")


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(code_archive, "MAX_SOURCE_BYTES", 10_000)
    with pytest.raises(ArtifactError, match="at most 10,000 bytes"):
        code_archive.unpack(lzma.compress(bytes(1 << 20)), "code.tar.xz")
