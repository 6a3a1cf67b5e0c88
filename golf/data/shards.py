"""A split: its token shards, and the index that says what they hold.

Documents follow each other, BOS in front, and run over shard ends (openai/parameter-golf, data/). A split's folder:
``<split>_%06d.bin`` and ``index.json`` with what the split is and every document's and shard's sha256 and size.
Where ids alone don't tell how many bytes of text a token carries, a sidecar does: ``<split>_bytes_%06d.bin``, cut as
the shards are, a uint16 of bytes for each token (PR #1729).

A split of millions of documents lists none of them: ``unlisted`` says how many there are, and of which documents of
other splits fetch found none among them, as the digest of those splits' texts; its ``bytes`` are null, as nobody is
scored on it. Its shards may lie in ``root``, a folder of hub.root, so that DVC copies no 25 GB. There a file that
hashes.json knows, and that has not changed since (golf.data.hashes), is not read again; any other is hashed. All
other shards are hashed at every opening.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.data import hub_root
from golf.data.hashes import Hashes
from golf.data.shard import CURE, Shard, read_shard, write_shard
from golf.ground import store
from golf.ground.errors import BadArtifact

INDEX = "index.json"
TYPES = {
    "split": str,
    "vocabulary": int,
    "bos": int,
    "tokenizer_sha256": str,
    "tokens": int,
    "documents": list,
    "shards": list,
    "sidecar": list,
}
DOCUMENT = {"sha256": str, "text": str, "text_folded": str, "bytes": int, "tokens": int}
SHARD = {"file": str, "tokens": int, "sha256": str}
UNLISTED = {"documents": int, "apart_from": dict}


@dataclass(frozen=True, slots=True)
class Written:
    """A document on its way into a split.

    sha256: of its raw text; text: of the text that its tokens must give back; text_folded: of that without case.
    bytes: of that text. tokens: uint16 ids [n], BOS in front; token_bytes: uint16 [n] for the sidecar, or None.
    """

    sha256: str
    text: str
    text_folded: str
    bytes: int
    tokens: np.ndarray
    token_bytes: np.ndarray | None = None

    def row(self) -> dict:
        """What the index says of it."""
        return {key: getattr(self, key) for key in DOCUMENT} | {"tokens": len(self.tokens)}

    def columns(self) -> np.ndarray:
        """uint16 [n, 1 or 2]: the ids, and beside them what the sidecar holds."""
        return np.stack([column for column in (self.tokens, self.token_bytes) if column is not None], axis=1)


@dataclass(frozen=True)
class Split:
    """An opened split. tokens, bytes: totals; documents: the index's rows, with the keys of DOCUMENT.

    bytes is None, documents is empty for a split that lists none. shards: arrays or Shards of uint16; token_bytes: the
    same of the sidecar, as long each; None for a split without one.
    """

    name: str
    vocabulary: int
    bos: int
    tokenizer_sha256: str
    tokens: int
    bytes: int | None
    documents: list[dict]
    shards: list[np.ndarray | Shard]
    token_bytes: list[np.ndarray | Shard] | None = None

    def starts(self) -> np.ndarray:
        """int64 [documents]: where each listed document's BOS stands in ``all()``."""
        lengths = np.array([row["tokens"] for row in self.documents], dtype=np.int64)
        return np.cumsum(lengths) - lengths

    def all(self) -> np.ndarray:
        """uint16 [tokens]: the shards in one array; its first token is the first document's BOS."""
        return np.concatenate(self.shards)


def write_split(
    folder,
    split: str,
    documents: Iterable[Written],
    *,
    vocabulary: int,
    bos: int,
    tokenizer_sha256: str,
    shard_tokens: int,
) -> dict:
    """Write a split whole or not at all, in place of what ``folder`` held; returns its index.

    documents: read once, one at a time; all with token_bytes, which makes a sidecar, or none.
    """
    folder = Path(folder)
    index = {"split": split, "vocabulary": vocabulary, "bos": bos, "tokenizer_sha256": tokenizer_sha256}
    with publishing(folder) as work:
        place = work / folder.name
        place.mkdir()
        rows, shards, sidecar = [], [], []
        for number, columns in enumerate(cut(noted(documents, rows), shard_tokens)):
            names = (shard_name(split, number), sidecar_name(split, number))
            for listed, file, column in zip((shards, sidecar), names, columns.T, strict=False):
                listed.append({"file": file, "tokens": len(column), "sha256": write_shard(place / file, column)})
        index |= {"tokens": sum(row["tokens"] for row in rows), "bytes": sum(row["bytes"] for row in rows)}
        index |= {"documents": rows, "shards": shards, "sidecar": sidecar}
        store.write_json(place / INDEX, index)
    return index


def shard_name(split: str, number: int) -> str:
    return f"{split}_{number:06d}.bin"


def sidecar_name(split: str, number: int) -> str:
    return f"{split}_bytes_{number:06d}.bin"


def noted(documents: Iterable[Written], rows: list[dict]) -> Iterator[np.ndarray]:
    """The documents' columns; what the index says of each is added to rows as it passes."""
    for document in documents:
        rows.append(document.row())
        yield document.columns()


def cut(parts: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """The parts end to end, cut anew into arrays of ``length``, the last one shorter."""
    held, count = [], 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= length:
            whole = np.concatenate(held)
            for start in range(0, count - length + 1, length):
                yield whole[start : start + length]
            held, count = [whole[count - count % length :]], count % length
    if count:
        yield np.concatenate(held)


def is_sidecar(path) -> bool:
    """By its name alone, which is all that tells the two apart."""
    return "_bytes_" in Path(path).name


def count(index: dict) -> int:
    """Documents of a split, listed or not."""
    return index["unlisted"]["documents"] if "unlisted" in index else len(index["documents"])


def texts_digest(documents: list[dict]) -> str:
    """sha256 of the texts of a split's rows, in their order: what ``unlisted.apart_from`` names a split by."""
    return store.json_digest([row["text"] for row in documents])


def open_split(folder, vocabulary: int | None = None) -> Split:
    """A split with every shard checked against the index: size, sha256, ids below the vocabulary.

    vocabulary: the model's, when it matters. Raises BadArtifact naming the file.
    """
    folder = Path(folder)
    index = read_index(folder)
    if vocabulary not in (None, index["vocabulary"]):
        raise BadArtifact(
            folder / INDEX,
            f"tokens of a vocabulary of {index['vocabulary']}, model.vocabulary is {vocabulary}",
            "run fetch with this model.vocabulary",
        )
    place = home(folder, index)
    hashes = Hashes(place) if "root" in index else None
    shards = [checked_shard(place, row, hashes, index["vocabulary"]) for row in index["shards"]]
    token_bytes = [checked_shard(place, row, hashes) for row in index["sidecar"]] or None
    names = ("vocabulary", "bos", "tokenizer_sha256", "tokens", "bytes", "documents")
    split = Split(index["split"], shards=shards, token_bytes=token_bytes, **{name: index[name] for name in names})
    demand_bos(folder / INDEX, split)
    if token_bytes:
        demand_bytes(folder / INDEX, split)
    return split


def home(folder: Path, index: dict) -> Path:
    """The folder that holds the shards of this index. Raises BadArtifact where hub.root has no such folder."""
    return hub_root.below(folder / INDEX, index["root"]) if "root" in index else folder


def demand_bos(path: Path, split: Split) -> None:
    """Every listed document starts with BOS, and the first of any; only the first token of each is read."""
    starts = split.starts() if split.documents else np.zeros(1, dtype=np.int64)
    ends = np.cumsum([len(shard) for shard in split.shards])
    owners = np.searchsorted(ends, starts, side="right")
    for owner, start in zip(owners, starts, strict=True):
        if split.shards[owner][start - ends[owner]] != split.bos:
            raise BadArtifact(path, f"no BOS at token {start:,}, where it starts a document", CURE)


def demand_bytes(path: Path, split: Split) -> None:
    """The sidecar gives each document the bytes that the index says it has, and none of them to its BOS."""
    starts = split.starts()
    whole = np.concatenate(split.token_bytes)
    sums = np.add.reduceat(whole, starts, dtype=np.int64)
    for number, (total, row) in enumerate(zip(sums, split.documents, strict=True)):
        if total != row["bytes"]:
            problem = f"its sidecar gives document {number} {total:,} bytes, it has {row['bytes']:,}"
            raise BadArtifact(path, problem, CURE)
    if whole[starts].any():
        number = int(np.flatnonzero(whole[starts])[0])
        raise BadArtifact(path, f"its sidecar gives bytes to the BOS of document {number}, which is no text", CURE)


def read_index(folder: Path) -> dict:
    """index.json of a split, complete and in agreement with itself. Raises BadArtifact."""
    path = Path(folder) / INDEX
    index = store.read_json(path)
    unlisted = "unlisted" in index
    types = TYPES | {"bytes": type(None) if unlisted else int}
    demand_types(path, "", index, types | ({"root": str} if "root" in index else {}))
    if index["split"] != path.parent.name:
        raise BadArtifact(path, f"is of the split {index['split']!r}, not {path.parent.name!r}", CURE)
    for rows, types in (("documents", DOCUMENT), ("shards", SHARD), ("sidecar", SHARD)):
        for number, row in enumerate(index[rows]):
            demand_types(path, f"{rows}[{number}]", row, types)
    if unlisted:
        demand_types(path, "unlisted", index["unlisted"], UNLISTED)
    else:
        demand_sum(path, index, "documents", "tokens")
        demand_sum(path, index, "documents", "bytes")
    demand_sum(path, index, "shards", "tokens")
    cuts = {rows: [row["tokens"] for row in index[rows]] for rows in ("shards", "sidecar")}
    if cuts["sidecar"] not in ([], cuts["shards"]):
        raise BadArtifact(path, "its sidecar is not cut as its shards are", CURE)
    strange = [row["file"] for row in [*index["shards"], *index["sidecar"]] if Path(row["file"]).name != row["file"]]
    if strange:
        raise BadArtifact(path, f"names a shard outside its folder: {strange[0]!r}", CURE)
    if not 0 <= index["bos"] < index["vocabulary"] <= 1 << 16:
        raise BadArtifact(path, f"vocabulary {index['vocabulary']} with BOS id {index['bos']} is impossible", CURE)
    return index


def demand_sum(path: Path, index: dict, rows: str, key: str) -> None:
    """There are rows, none without a token, and they add up to what the index says of the whole."""
    if not index[rows]:
        raise BadArtifact(path, f"lists no {rows}", CURE)
    least = min(row["tokens"] for row in index[rows])
    if least < 1 or sum(row[key] for row in index[rows]) != index[key]:
        raise BadArtifact(path, f"the {key} of its {rows} do not add up to {index[key]:,}", CURE)


def demand_types(path: Path, where: str, tree, types: dict[str, type]) -> None:
    if not isinstance(tree, dict):
        raise BadArtifact(path, f"{where} is no object", CURE)
    for key, kind in types.items():
        if type(tree.get(key)) is not kind:
            name = f"{where}.{key}".lstrip(".")
            raise BadArtifact(path, f"{name} must be {kind.__name__}, got {tree.get(key)!r:.60}", CURE)


def checked_shard(place: Path, row: dict, hashes: Hashes | None, vocabulary: int | None = None) -> Shard:
    """The shard of one row. hashes: of a root, where what it knows was checked when it was noted."""
    path = place / row["file"]
    shard = read_shard(path)
    if len(shard) != row["tokens"]:
        raise BadArtifact(path, f"holds {len(shard):,} tokens, the index says {row['tokens']:,}", CURE)
    known = hashes.known(row["file"]) if hashes else None
    if (known or store.digest(path)) != row["sha256"]:
        raise BadArtifact(path, "its sha256 is not the index's: the file is damaged or from another run", CURE)
    if vocabulary and not known:
        demand_below(path, int(shard[:].max()), vocabulary)
    return shard


def demand_below(path: Path, largest: int, vocabulary: int) -> None:
    if largest >= vocabulary:
        raise BadArtifact(path, f"holds the id {largest}, ids must be below the vocabulary of {vocabulary}", CURE)


@contextlib.contextmanager
def publishing(*paths):
    """A temporary folder beside ``paths`` (all in one folder); when the block ends well, what it made under their
    names replaces them in the order given; when it does not, everything is as before.
    """
    paths = [Path(path) for path in paths]
    home = paths[0].parent
    home.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=home, prefix=".", suffix=".partial"))
    try:
        yield work
        for path in paths:
            if path.is_dir():
                path.rename(work / f"{path.name}.old")
            (work / path.name).replace(path)
    finally:
        shutil.rmtree(work)
