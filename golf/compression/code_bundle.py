"""The code that counts against the limit: a .tar.xz of minified sources, made once and then weighed and run as it is.

``ast.unparse`` writes the same tree differently in different versions of Python, so a bundle is never made a second
time to be weighed: compress writes the file, evaluate weighs it, and the sandbox runs what is in it.
"""

import ast
import io
import lzma
import tarfile
from pathlib import Path, PurePosixPath

from golf.errors import ArtifactError

MAX_SOURCE_BYTES = 64 << 20  # bytes of unpacked sources; a bundle that claims more is damaged
RERUN_HINT = "run the stage that wrote it again, or bring it back with: dvc checkout"


def minify(source: bytes, filename: str) -> bytes:
    """The same module without comments, docstrings, and the annotations of functions, their locals and the module.

    Annotations in class bodies stay, because dataclasses and ``golf.config.validation`` read them. Names stay.
    """
    tree = _Minifier().visit(ast.parse(source, filename=filename))
    return (ast.unparse(ast.fix_missing_locations(tree)) + "\n").encode()


class _Minifier(ast.NodeTransformer):
    """Removes what has no effect when the module runs."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        return self._strip_docstring(node, empty_allowed=True)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        fields = {id(statement) for statement in node.body if isinstance(statement, ast.AnnAssign)}
        body = [statement if id(statement) in fields else self.visit(statement) for statement in node.body]
        node.body = body
        return self._strip_docstring(node, visit=False)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self._strip_docstring(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign):
        """Outside a class body: the assignment, or ``pass`` for a bare declaration."""
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=self.visit(node.value))

    def _strip_docstring(self, node, *, visit: bool = True, empty_allowed: bool = False):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if visit:
            self.generic_visit(node)
        if not node.body and not empty_allowed:
            node.body = [ast.Pass()]
        return node


def pack(files: list[str], root=".") -> bytes:
    """A .tar.xz of the minified ``files`` below ``root``: the same bytes whenever this Python makes it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            data = minify((Path(root) / name).read_bytes(), name)
            entry = tarfile.TarInfo(name)  # mode, owner and time are constants
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(archive.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def unpack(packed: bytes, path) -> dict[str, bytes]:
    """Sources by file name. ``path`` is named in errors.

    Raises BadArtifact for anything but a .tar.xz of regular .py files at relative paths, within SOURCES_LIMIT.
    """
    try:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 << 20)
        archive = decoder.decompress(packed, max_length=MAX_SOURCE_BYTES)
        if not decoder.eof or decoder.unused_data:
            raise ArtifactError(path, f"not one .xz stream of at most {MAX_SOURCE_BYTES:,} bytes", RERUN_HINT)
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = tar.getmembers()
            sources = {entry.name: tar.extractfile(entry).read() for entry in members if entry.isreg()}
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise ArtifactError(path, f"not a bundle of sources ({error})", RERUN_HINT) from None
    invalid_names = [entry.name for entry in members if not entry.isreg() or not _is_source_path(entry.name)]
    if invalid_names or len(sources) != len(members):
        raise ArtifactError(
            path, f"must hold .py files at relative paths, each once, got {invalid_names or 'a name twice'}", RERUN_HINT
        )
    return sources


def _is_source_path(name: str) -> bool:
    source_path = PurePosixPath(name)
    return (
        source_path.suffix == ".py"
        and not source_path.is_absolute()
        and ".." not in source_path.parts
        and str(source_path) == name
    )
