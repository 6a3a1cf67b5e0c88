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

from golf.ground import lineage, store
from golf.ground.errors import BadInput

State = Literal["here", "changed since", "gone"]
HERE, CHANGED, GONE = "here", "changed since", "gone"


@dataclass(frozen=True)
class Node:
    """One artifact or split folder. path: as recorded; state: whether what lies there is still what was recorded.

    lineage: what it says of itself; None for a split, for what is not here, and for a file of unknown origin.
    """

    path: str
    sha256: str
    state: State
    lineage: dict | None = None
    inputs: tuple["Node", ...] = ()

    @property
    def split(self) -> str | None:
        """train, dev or val where this is a split's folder, known by its name, so that one that is gone counts too."""
        name = Path(self.path).name
        return name if name in lineage.TEXTS else None

    @functools.cached_property
    def seen(self) -> frozenset[str]:
        """The splits behind it, as it says itself and as its inputs show."""
        own = {self.split} if self.split else {*(self.lineage or {}).get("splits_seen", ())}
        return frozenset(own.union(*(node.seen for node in self.inputs)))


def walk(path) -> Node:
    """The ancestry of the file or split folder at ``path``.

    Raises BadInput when nothing is there, BadArtifact when a file can't be read or its lineage was edited.
    """
    path = Path(path)
    if not (path.is_file() or (path / "index.json").is_file()):
        raise BadInput(f"{path}: not found; name an artifact (dvc checkout brings them back) or a split's folder")
    return Walker(home(path)).visit(path.as_posix(), lineage.file_digest(path), path)


def home(path: Path) -> Path:
    """The folder that recorded paths start from: what holds the innermost ``artifacts`` above ``path``, else here."""
    return next((above.parent for above in path.absolute().parents if above.name == "artifacts"), Path())


class Walker:
    """Visits each file once, however many artifacts were made from it."""

    def __init__(self, root: Path):
        self.root, self.known = root, {}

    def visit(self, path: str, sha256: str, place: Path) -> Node:
        if (path, sha256) not in self.known:
            self.known[path, sha256] = self.opened(path, sha256, place)
        return self.known[path, sha256]

    def opened(self, path: str, sha256: str, place: Path) -> Node:
        file = place / "index.json" if place.is_dir() else place
        if not file.is_file():
            return Node(path, sha256, GONE)
        if store.digest(file) != sha256:
            return Node(path, sha256, CHANGED)
        found = None if place.is_dir() else lineage.read(place)
        inputs = () if found is None else found["inputs"].values()
        nodes = [self.visit(each["path"], each["sha256"], self.root / each["path"]) for each in inputs]
        return Node(path, sha256, HERE, found, tuple(nodes))


def path_of(split: str, path) -> list[str]:
    """How a split got into an artifact: the split's folder first, ``path`` last; empty where it did not.

    Where the files that carried it are no longer as recorded, the chain starts with the split's name and the first of
    them. Raises as ``walk``.
    """
    return chain(split, walk(path))


def chain(split: str, top: Node) -> list[str]:
    """``path_of`` in an ancestry that was walked: the shortest of the ways."""
    routes, met = deque([(top,)] if split in top.seen else []), set()
    while routes:
        route = routes.popleft()
        node = route[-1]
        carriers = [each for each in node.inputs if split in each.seen]
        if not carriers:
            lost = [f"{each.path} ({each.state})" for each in node.inputs if each.state != HERE and not each.split]
            ends = [] if node.split == split else [split, *lost[:1]]
            return [*ends, *(each.path for each in reversed(route))]
        routes += [(*route, each) for each in carriers if id(each) not in met]
        met |= {id(each) for each in carriers}
    return []


def nodes(top: Node) -> Iterator[Node]:
    """Every artifact of an ancestry, each once."""
    met, waiting = set(), [top]
    while waiting:
        node = waiting.pop()
        if id(node) not in met:
            met.add(id(node))
            waiting += node.inputs
            yield node


def changed_code(top: Node) -> tuple[list[str], int]:
    """The code files that made this ancestry and are not the same in this checkout; and how many there are."""
    made = {(file, digest) for node in nodes(top) if node.lineage for file, digest in node.lineage["code"].items()}
    files = {file for file, _ in made}
    return sorted({file for file, digest in made if code_digest(file) != digest}), len(files)


def code_digest(file: str) -> str | None:
    """sha256 of a file of this checkout; None where there is none."""
    place = lineage.ROOT / file
    return store.digest(place) if place.is_file() else None


def understated(top: Node) -> list[str]:
    """Artifacts whose lineage leaves out a split that their inputs show."""
    return [node.path for node in nodes(top) if node.lineage and node.seen - {*node.lineage["splits_seen"]}]
