"""The code that counts against the size limit: a .tar.xz of minified sources.

``ast.unparse`` writes one tree differently in different versions of Python. So the archive is made once: compress
writes it, evaluate weighs that file, and the sandbox runs exactly what is in it.
"""

import ast
import io
import lzma
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from golf.errors import ArtifactError

__all__ = ["MAX_SOURCE_BYTES", "minify", "pack", "unpack"]

MAX_SOURCE_BYTES = 64 << 20  # of the unpacked archive; an archive that claims more is damaged
_INTERFACE_FILE = "golf/__init__.py"  # holds golf.load alone, which imports what no archive holds; packed as empty
_TYPING_MODULES = ("typing", "collections.abc")
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "pb": 0}]  # pb 0: bytes are not aligned
_Definition = TypeVar("_Definition", ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def minify(source: bytes, filename: str) -> bytes:
    """Return the same module without comments, docstrings, ``__all__``, most annotations, and their imports.

    Annotations of functions, of their locals and of module variables go. Those in class bodies stay, because
    dataclasses and ``golf.config.validation`` read them. Identifiers keep their names.
    """
    tree = ast.fix_missing_locations(_Minifier().visit(ast.parse(source, filename=filename)))
    return (_shrink_whitespace(ast.unparse(_drop_unused_typing_imports(tree))) + "\n").encode()


class _Minifier(ast.NodeTransformer):
    """Removes docstrings and annotations that have no effect when the module runs."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = [statement for statement in node.body if not _is_all_list(statement)]
        return self._strip_docstring(node, empty_allowed=True)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.body = [
            statement if isinstance(statement, ast.AnnAssign) else self.visit(statement) for statement in node.body
        ]
        return self._strip_docstring(node, visit=False)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self._strip_docstring(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        node.returns = None
        return self._strip_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """Outside a class body: the assignment, or ``pass`` for a bare declaration."""
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=self.visit(node.value))

    def visit_If(self, node: ast.If) -> ast.stmt | None:
        """Without ``if TYPE_CHECKING:``, whose imports only annotations mention."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        return node

    def _strip_docstring(self, node: _Definition, *, visit: bool = True, empty_allowed: bool = False) -> _Definition:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if visit:
            self.generic_visit(node)
        if not node.body and not empty_allowed:
            node.body = [ast.Pass()]
        return node


def _is_all_list(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"


def _drop_unused_typing_imports(tree: ast.Module) -> ast.Module:
    """Without the names that a module imports from typing and collections.abc and does not mention otherwise.

    A mention is any word of the source, strings included, because annotations may be strings.
    """
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module in _TYPING_MODULES]
    statements = [node for node in tree.body if node not in imports]
    words = set(re.findall(r"\w+", ast.unparse(ast.Module(statements, type_ignores=[]))))
    for node in imports:
        node.names = [alias for alias in node.names if (alias.asname or alias.name) in words | {"*"}]
    tree.body = [node for node in tree.body if node not in imports or node.names]
    return tree


def _shrink_whitespace(source: str) -> str:
    """Unparsed source with one space per level of indentation and no blank lines, unless that changes a string."""
    small = re.sub(r"^( {4})+", lambda match: " " * (len(match[0]) // 4), source, flags=re.MULTILINE)
    small = re.sub(r"\n\n+", "\n", small)
    return small if ast.dump(ast.parse(small)) == ast.dump(ast.parse(source)) else source


def pack(files: Sequence[str], root: str | Path = ".") -> bytes:
    """Return a .tar.xz of the minified ``files``, paths relative to ``root``; golf/__init__.py is packed as empty.

    One Python version always gives equal bytes.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            data = b"\n" if name == _INTERFACE_FILE else minify((Path(root) / name).read_bytes(), name)
            entry = tarfile.TarInfo(name)  # mode, owner and time are constants
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(archive.getvalue(), filters=_XZ_FILTERS)


def unpack(packed: bytes, path: str | Path) -> dict[str, bytes]:
    """Return the sources by file name. ``path`` is named in errors.

    Raises ArtifactError for anything but a .tar.xz of regular .py files at relative paths, each of them once, of at
    most MAX_SOURCE_BYTES unpacked.
    """
    try:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 << 20)
        archive = decoder.decompress(packed, max_length=MAX_SOURCE_BYTES)
        if not decoder.eof or decoder.unused_data:
            raise ArtifactError(path, f"not one .xz stream of at most {MAX_SOURCE_BYTES:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = tar.getmembers()
            sources = {entry.name: file.read() for entry in members if (file := _open_regular(tar, entry))}
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise ArtifactError(path, f"not an archive of sources ({error})") from None
    invalid_names = [entry.name for entry in members if not entry.isreg() or not _is_source_path(entry.name)]
    if invalid_names or len(sources) != len(members):
        problem = f"must hold .py files at relative paths, each once, got {invalid_names or 'a name twice'}"
        raise ArtifactError(path, problem)
    return sources


def _open_regular(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes] | None:
    return tar.extractfile(entry) if entry.isreg() else None


def _is_source_path(name: str) -> bool:
    source_path = PurePosixPath(name)
    return (
        source_path.suffix == ".py"
        and not source_path.is_absolute()
        and ".." not in source_path.parts
        and str(source_path) == name
    )
