"""The ancestry of an artifact: its lineage, that of each input as far as the recorded files are still there, and so on.

An input is followed when the file at its recorded path still has its recorded sha256. Recorded paths start from the
folder that held ``artifacts/``.
"""

import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golf.artifacts import io, lineage
from golf.errors import InputError

_FileState = Literal["here", "changed since", "gone"]
UNCHANGED, _CHANGED, _MISSING = "here", "changed since", "gone"


@dataclass(frozen=True)
class LineageNode:
    """One artifact or split folder. path: as recorded; state: whether what lies there is still what was recorded.

    lineage: what it says of itself; None for a split, for what is not here, and for a file of unknown origin.
    """

    path: str
    sha256: str
    state: _FileState
    lineage: dict | None = None
    inputs: tuple["LineageNode", ...] = ()

    @property
    def split(self) -> str | None:
        """train, dev or val where this is a split's folder, known by its name, so that one that is gone counts too."""
        name = Path(self.path).name
        return name if name in lineage.DATA_SPLITS else None

    @functools.cached_property
    def upstream_splits(self) -> frozenset[str]:
        """The splits behind it, as it says itself and as its inputs show."""
        own_splits = {self.split} if self.split else {*(self.lineage or {}).get("splits_seen", ())}
        return frozenset(own_splits.union(*(node.upstream_splits for node in self.inputs)))


def load_graph(path) -> LineageNode:
    """The ancestry of the file or split folder at ``path``.

    Raises BadInput when nothing is there, BadArtifact when a file can't be read or its lineage was edited.
    """
    path = Path(path)
    if not (path.is_file() or (path / "index.json").is_file()):
        raise InputError(f"{path}: not found; name an artifact (dvc checkout brings them back) or a split's folder")
    return _GraphLoader(artifact_root(path)).load(path.as_posix(), lineage.artifact_sha256(path), path)


def artifact_root(path: Path) -> Path:
    """The folder that recorded paths start from: what holds the innermost ``artifacts`` above ``path``, else here."""
    return next((parent.parent for parent in path.absolute().parents if parent.name == "artifacts"), Path())


class _GraphLoader:
    """Visits each file once, however many artifacts were made from it."""

    def __init__(self, root: Path):
        self._root, self._nodes = root, {}

    def load(self, path: str, sha256: str, location: Path) -> LineageNode:
        if (path, sha256) not in self._nodes:
            self._nodes[path, sha256] = self._read_node(path, sha256, location)
        return self._nodes[path, sha256]

    def _read_node(self, path: str, sha256: str, location: Path) -> LineageNode:
        file = location / "index.json" if location.is_dir() else location
        if not file.is_file():
            return LineageNode(path, sha256, _MISSING)
        if io.sha256_file(file) != sha256:
            return LineageNode(path, sha256, _CHANGED)
        record = None if location.is_dir() else lineage.read_lineage(location)
        inputs = () if record is None else record["inputs"].values()
        input_nodes = [self.load(entry["path"], entry["sha256"], self._root / entry["path"]) for entry in inputs]
        return LineageNode(path, sha256, UNCHANGED, record, tuple(input_nodes))


def load_path_from_split(split: str, path) -> list[str]:
    """How a split got into an artifact: the split's folder first, ``path`` last; empty where it did not.

    Where the files that carried it are no longer as recorded, the chain starts with the split's name and the first of
    them. Raises as ``walk``.
    """
    return path_from_split(split, load_graph(path))


def path_from_split(split: str, root: LineageNode) -> list[str]:
    """``path_of`` in an ancestry that was walked: the shortest of the ways."""
    pending, visited = deque([(root,)] if split in root.upstream_splits else []), set()
    while pending:
        route = pending.popleft()
        node = route[-1]
        carrying_inputs = [ancestor for ancestor in node.inputs if split in ancestor.upstream_splits]
        if not carrying_inputs:
            unavailable = [
                f"{each.path} ({each.state})" for each in node.inputs if each.state != UNCHANGED and not each.split
            ]
            prefix = [] if node.split == split else [split, *unavailable[:1]]
            return [*prefix, *(each.path for each in reversed(route))]
        pending += [(*route, each) for each in carrying_inputs if id(each) not in visited]
        visited |= {id(each) for each in carrying_inputs}
    return []


def _iter_nodes(root: LineageNode) -> Iterator[LineageNode]:
    """Every artifact of an ancestry, each once."""
    visited, stack = set(), [root]
    while stack:
        node = stack.pop()
        if id(node) not in visited:
            visited.add(id(node))
            stack += node.inputs
            yield node


def modified_sources(root: LineageNode) -> tuple[list[str], int]:
    """The code files that made this ancestry and are not the same in this checkout; and how many there are."""
    recorded = {
        (file, digest) for node in _iter_nodes(root) if node.lineage for file, digest in node.lineage["code"].items()
    }
    files = {file for file, _ in recorded}
    return sorted({file for file, digest in recorded if _source_sha256(file) != digest}), len(files)


def _source_sha256(file: str) -> str | None:
    """sha256 of a file of this checkout; None where there is none."""
    path = lineage.REPO_ROOT / file
    return io.sha256_file(path) if path.is_file() else None


def underreported_splits(root: LineageNode) -> list[str]:
    """Artifacts whose lineage leaves out a split that their inputs show."""
    return [
        node.path
        for node in _iter_nodes(root)
        if node.lineage and node.upstream_splits - {*node.lineage["splits_seen"]}
    ]
