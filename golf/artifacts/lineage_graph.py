"""The lineage graph of an artifact: its lineage record, those of its inputs, and so on up to the data splits.

An input is followed if the file at its recorded path still has its recorded sha256. Recorded paths are relative to the
folder that holds ``artifacts/``.
"""

import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from golf.artifacts import io, lineage
from golf.errors import ArtifactError

__all__ = [
    "FileState",
    "LineageNode",
    "find_artifact_root",
    "find_modified_sources",
    "find_path_from_split",
    "find_underreported_splits",
    "load_graph",
]

FileState = Literal["unchanged", "changed since", "missing"]


@dataclass(frozen=True)
class LineageNode:
    """An artifact or a split folder.

    path: as recorded. state: whether the file at ``path`` still has the recorded sha256. lineage: its own record; None
    for a split folder, a file that is missing or has changed, and a file without lineage.
    """

    path: str
    sha256: str
    state: FileState
    lineage: dict[str, Any] | None = None
    inputs: tuple["LineageNode", ...] = ()

    @property
    def split(self) -> str | None:
        """train, dev or val for a split folder. The name decides, so that a missing folder is recognized too."""
        name = Path(self.path).name
        return name if name in lineage.DATA_SPLITS else None

    @functools.cached_property
    def upstream_splits(self) -> frozenset[str]:
        """The splits that influenced it, according to its own record or to its inputs."""
        own_splits = {self.split} if self.split else {*(self.lineage or {}).get("splits_seen", ())}
        return frozenset(own_splits.union(*(node.upstream_splits for node in self.inputs)))


def load_graph(path: Path | str) -> LineageNode:
    """Return the lineage graph of the file or split folder at ``path``.

    Raises ArtifactError if there is none, if a file cannot be read or if its lineage was edited.
    """
    path = Path(path)
    if not (path.is_file() or (path / "index.json").is_file()):
        raise ArtifactError(path, "not found: it must be an artifact or a split folder")
    return _GraphLoader(find_artifact_root(path)).load(path.as_posix(), lineage.hash_artifact(path), path)


def find_artifact_root(path: Path) -> Path:
    """Return the folder that recorded paths are relative to: the parent of the innermost ``artifacts`` above ``path``.

    The working directory if there is none.
    """
    return next((parent.parent for parent in path.absolute().parents if parent.name == "artifacts"), Path())


class _GraphLoader:
    """Reads each file once, however many artifacts depend on it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nodes: dict[tuple[str, str], LineageNode] = {}

    def load(self, path: str, sha256: str, location: Path) -> LineageNode:
        if (path, sha256) not in self._nodes:
            self._nodes[path, sha256] = self._read_node(path, sha256, location)
        return self._nodes[path, sha256]

    def _read_node(self, path: str, sha256: str, location: Path) -> LineageNode:
        file = location / "index.json" if location.is_dir() else location
        if not file.is_file():
            return LineageNode(path, sha256, "missing")
        if io.sha256_file(file) != sha256:
            return LineageNode(path, sha256, "changed since")
        record = None if location.is_dir() else lineage.read_lineage(location)
        inputs = () if record is None else record["inputs"].values()
        input_nodes = [self.load(entry["path"], entry["sha256"], self._root / entry["path"]) for entry in inputs]
        return LineageNode(path, sha256, "unchanged", record, tuple(input_nodes))


def find_path_from_split(split: str, root: LineageNode) -> list[str]:
    """Return the shortest path by which a split influenced an artifact: from the split's folder to the artifact.

    Empty if it did not. If the files in between are missing or have changed, the path starts with the split's name and
    the first such file.
    """
    pending: deque[tuple[LineageNode, ...]] = deque([(root,)] if split in root.upstream_splits else [])
    visited: set[int] = set()
    while pending:
        route = pending.popleft()
        node = route[-1]
        carrying_inputs = [source for source in node.inputs if split in source.upstream_splits]
        if not carrying_inputs:
            unavailable = [
                f"{source.path} ({source.state})"
                for source in node.inputs
                if source.state != "unchanged" and not source.split
            ]
            prefix = [] if node.split == split else [split, *unavailable[:1]]
            return [*prefix, *(visited_node.path for visited_node in reversed(route))]
        pending += [(*route, source) for source in carrying_inputs if id(source) not in visited]
        visited |= {id(source) for source in carrying_inputs}
    return []


def _iter_nodes(root: LineageNode) -> Iterator[LineageNode]:
    """Every node of the graph, once."""
    visited: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) not in visited:
            visited.add(id(node))
            stack += node.inputs
            yield node


def find_modified_sources(root: LineageNode) -> tuple[list[str], int]:
    """Return the recorded source files that differ from this checkout, and how many source files the graph records."""
    recorded = {
        (file, digest) for node in _iter_nodes(root) if node.lineage for file, digest in node.lineage["code"].items()
    }
    files = {file for file, _ in recorded}
    return sorted({file for file, digest in recorded if _hash_source(file) != digest}), len(files)


def _hash_source(file: str) -> str | None:
    """sha256 of a file of this checkout; None if it does not exist."""
    path = lineage.REPO_ROOT / file
    return io.sha256_file(path) if path.is_file() else None


def find_underreported_splits(root: LineageNode) -> list[str]:
    """Return the paths of artifacts whose own record omits a split that influenced their inputs."""
    return [
        node.path
        for node in _iter_nodes(root)
        if node.lineage and node.upstream_splits - {*node.lineage["splits_seen"]}
    ]
