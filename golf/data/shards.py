"""Token shards in the challenge's format, and the index that says what a split's shards hold.

A shard: 256 little-endian int32 (20240520, 1, number of tokens, zeros), then that many little-endian uint16 ids.
Documents follow each other, BOS in front, and run over shard ends (openai/parameter-golf, data/). A split's folder:
``<split>_%06d.bin`` and ``index.json`` with what the split is and every document's and shard's sha256 and size.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.ground import store
from golf.ground.errors import BadArtifact

MAGIC, VERSION, HEADER = 20240520, 1, 1024
INDEX = "index.json"
CURE = "run fetch again, or bring it back with: dvc checkout fetch"
TYPES = {
    "split": str,
    "vocabulary": int,
    "bos": int,
    "tokenizer_sha256": str,
    "tokens": int,
    "bytes": int,
    "documents": list,
    "shards": list,
}
DOCUMENT = {"sha256": str, "bytes": int, "tokens": int}
SHARD = {"file": str, "tokens": int, "sha256": str}


@dataclass(frozen=True)
class Split:
    """An opened split. tokens, bytes: totals; documents: {"sha256", "bytes", "tokens"} each; shards: uint16 maps."""

    name: str
    vocabulary: int
    bos: int
    tokenizer_sha256: str
    tokens: int
    bytes: int
    documents: list[dict]
    shards: list[np.ndarray]

    def all(self) -> np.ndarray:
        """uint16 [tokens]: the shards in one array; its first token is the first document's BOS."""
        return np.concatenate(self.shards)


def write_split(
    folder,
    split: str,
    documents: Iterable[tuple[str, int, np.ndarray]],
    *,
    vocabulary: int,
    bos: int,
    tokenizer_sha256: str,
    shard_tokens: int,
) -> dict:
    """Write a split whole or not at all, in place of what ``folder`` held; returns its index.

    documents: (sha256 of the text, bytes of the normalised text, ids with BOS in front), read once, one at a time.
    """
    folder = Path(folder)
    index = {"split": split, "vocabulary": vocabulary, "bos": bos, "tokenizer_sha256": tokenizer_sha256}
    with publishing(folder) as work:
        place = work / folder.name
        place.mkdir()
        rows, shards = [], []
        for number, tokens in enumerate(cut(noted(documents, rows), shard_tokens)):
            file = f"{split}_{number:06d}.bin"
            shards.append({"file": file, "tokens": len(tokens), "sha256": write_shard(place / file, tokens)})
        index |= {"tokens": sum(row["tokens"] for row in rows), "bytes": sum(row["bytes"] for row in rows)}
        index |= {"documents": rows, "shards": shards}
        store.write_json(place / INDEX, index)
    return index


def noted(documents, rows: list[dict]) -> Iterator[np.ndarray]:
    """The documents' ids; what the index says of each is added to rows as it passes."""
    for digest, size, tokens in documents:
        rows.append({"sha256": digest, "bytes": int(size), "tokens": len(tokens)})
        yield tokens


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


def write_shard(path, tokens: np.ndarray) -> str:
    """Write ids [n] as one shard; returns the file's sha256."""
    header = np.zeros(HEADER // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    body = np.ascontiguousarray(tokens, dtype="<u2")
    with store.writing(path) as partial, open(partial, "wb") as file:
        file.write(header.data)
        file.write(body.data)
    total = hashlib.sha256(header.data)
    total.update(body.data)
    return total.hexdigest()


def read_shard(path) -> np.ndarray:
    """uint16 [n], mapped read-only, by structure alone: magic, version, exact size. Raises BadArtifact."""
    try:
        with open(path, "rb") as file:
            start = file.read(HEADER)
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, IsADirectoryError):
        raise BadArtifact(path, "no such shard", CURE) from None
    if len(start) < HEADER:
        raise BadArtifact(path, f"a shard starts with {HEADER} bytes of header, this file has {size}", CURE)
    magic, version, tokens = map(int, np.frombuffer(start, dtype="<i4", count=3))
    if magic != MAGIC:
        raise BadArtifact(path, f"not a token shard: magic {magic}, expected {MAGIC}", CURE)
    if version != VERSION:
        raise BadArtifact(path, f"shard version {version}, this program reads {VERSION}", CURE)
    if tokens < 1 or size != HEADER + 2 * tokens:
        raise BadArtifact(path, f"{tokens:,} tokens by its header, {(size - HEADER) / 2:,} by its size", CURE)
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER, shape=(tokens,))


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
    shards = [checked_shard(folder / row["file"], row, index["vocabulary"]) for row in index["shards"]]
    names = ("vocabulary", "bos", "tokenizer_sha256", "tokens", "bytes", "documents")
    split = Split(name=index["split"], shards=shards, **{name: index[name] for name in names})
    starts = np.cumsum([0, *(row["tokens"] for row in split.documents[:-1])])
    ends = np.cumsum([len(shard) for shard in shards])
    owners = np.searchsorted(ends, starts, side="right")
    for owner, start in zip(owners, starts, strict=True):
        if shards[owner][start - ends[owner]] != split.bos:
            raise BadArtifact(folder / INDEX, f"no BOS at token {start:,}, where it starts a document", CURE)
    return split


def read_index(folder: Path) -> dict:
    """index.json of a split, complete and in agreement with itself. Raises BadArtifact."""
    path = Path(folder) / INDEX
    index = store.read_json(path)
    demand_types(path, "", index, TYPES)
    if index["split"] != path.parent.name:
        raise BadArtifact(path, f"is of the split {index['split']!r}, not {path.parent.name!r}", CURE)
    for rows, types in (("documents", DOCUMENT), ("shards", SHARD)):
        if not index[rows]:
            raise BadArtifact(path, f"lists no {rows}", CURE)
        for number, row in enumerate(index[rows]):
            demand_types(path, f"{rows}[{number}]", row, types)
        counts = [row["tokens"] for row in index[rows]]
        if min(counts) < 1 or sum(counts) != index["tokens"]:
            raise BadArtifact(path, f"the tokens of its {rows} do not add up to {index['tokens']:,}", CURE)
    if sum(row["bytes"] for row in index["documents"]) != index["bytes"]:
        raise BadArtifact(path, f"the bytes of its documents do not add up to {index['bytes']:,}", CURE)
    strange = [row["file"] for row in index["shards"] if Path(row["file"]).name != row["file"]]
    if strange:
        raise BadArtifact(path, f"names a shard outside its folder: {strange[0]!r}", CURE)
    if not 0 <= index["bos"] < index["vocabulary"] <= 1 << 16:
        raise BadArtifact(path, f"vocabulary {index['vocabulary']} with BOS id {index['bos']} is impossible", CURE)
    return index


def demand_types(path: Path, where: str, tree, types: dict[str, type]) -> None:
    if not isinstance(tree, dict):
        raise BadArtifact(path, f"{where} is no object", CURE)
    for key, kind in types.items():
        if type(tree.get(key)) is not kind:
            name = f"{where}.{key}".lstrip(".")
            raise BadArtifact(path, f"{name} must be {kind.__name__}, got {tree.get(key)!r:.60}", CURE)


def checked_shard(path: Path, row: dict, vocabulary: int) -> np.ndarray:
    shard = read_shard(path)
    if len(shard) != row["tokens"]:
        raise BadArtifact(path, f"holds {len(shard):,} tokens, the index says {row['tokens']:,}", CURE)
    if store.digest(path) != row["sha256"]:
        raise BadArtifact(path, "its sha256 is not the index's: the file is damaged or from another run", CURE)
    largest = int(shard.max())
    if largest >= vocabulary:
        raise BadArtifact(path, f"holds the id {largest}, ids must be below the vocabulary of {vocabulary}", CURE)
    return shard


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
