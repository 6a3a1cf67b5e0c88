"""A split: its token shards, and the index that says what they hold.

Documents follow each other, BOS in front, and run over shard ends (openai/parameter-golf, data/). A split's folder:
``<split>_%06d.bin`` and ``index.json`` with what the split is and every document's and shard's sha256 and size.
Where ids alone don't tell how many bytes of text a token carries, a sidecar does: ``<split>_bytes_%06d.bin``, cut as
the shards are, a uint16 of bytes for each token (PR #1729).

A split of millions of documents lists none of them: ``unlisted`` says how many there are, and of which documents of
other splits fetch found none among them, as the digest of those splits' texts; its ``bytes`` are null, as nobody is
scored on it. Its shards may lie in ``root``, a folder of hub.root, so that DVC copies no 25 GB. There a file that
hashes.json knows, and that has not changed since (golf.artifacts.hash_cache), is not read again; any other is hashed. All
other shards are hashed at every opening.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data.hub import root
from golf.data.shard_file import RERUN_HINT, ShardReader, read_shard, write_shard
from golf.errors import ArtifactError

INDEX_FILE = "index.json"
_INDEX_TYPES = {
    "split": str,
    "vocab_size": int,
    "bos": int,
    "tokenizer_sha256": str,
    "tokens": int,
    "documents": list,
    "shards": list,
    "sidecar": list,
}
DOCUMENT_TYPES = {"sha256": str, "text": str, "text_folded": str, "bytes": int, "tokens": int}
_SHARD_TYPES = {"file": str, "tokens": int, "sha256": str}
_UNLISTED_TYPES = {"documents": int, "apart_from": dict}


@dataclass(frozen=True, slots=True)
class EncodedDocument:
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

    def to_index_row(self) -> dict:
        """What the index says of it."""
        return {key: getattr(self, key) for key in DOCUMENT_TYPES} | {"tokens": len(self.tokens)}

    def stack_columns(self) -> np.ndarray:
        """uint16 [n, 1 or 2]: the ids, and beside them what the sidecar holds."""
        return np.stack([column for column in (self.tokens, self.token_bytes) if column is not None], axis=1)


@dataclass(frozen=True)
class TokenSplit:
    """An opened split. tokens, bytes: totals; documents: the index's rows, with the keys of DOCUMENT.

    bytes is None, documents is empty for a split that lists none. shards: arrays or Shards of uint16; token_bytes: the
    same of the sidecar, as long each; None for a split without one.
    """

    name: str
    vocab_size: int
    bos: int
    tokenizer_sha256: str
    tokens: int
    bytes: int | None
    documents: list[dict]
    shards: list[np.ndarray | ShardReader]
    token_bytes: list[np.ndarray | ShardReader] | None = None

    def document_starts(self) -> np.ndarray:
        """int64 [documents]: where each listed document's BOS stands in ``all()``."""
        lengths = np.array([row["tokens"] for row in self.documents], dtype=np.int64)
        return np.cumsum(lengths) - lengths

    def read_tokens(self) -> np.ndarray:
        """uint16 [tokens]: the shards in one array; its first token is the first document's BOS."""
        return np.concatenate(self.shards)


def write_split(
    folder,
    split_name: str,
    documents: Iterable[EncodedDocument],
    *,
    vocab_size: int,
    bos: int,
    tokenizer_sha256: str,
    shard_tokens: int,
) -> dict:
    """Write a split whole or not at all, in place of what ``folder`` held; returns its index.

    documents: read once, one at a time; all with token_bytes, which makes a sidecar, or none.
    """
    folder = Path(folder)
    index = {"split": split_name, "vocab_size": vocab_size, "bos": bos, "tokenizer_sha256": tokenizer_sha256}
    with replace_together(folder) as work:
        staging_dir = work / folder.name
        staging_dir.mkdir()
        rows, shards, sidecar = [], [], []
        for number, columns in enumerate(rechunk(_record_rows(documents, rows), shard_tokens)):
            file_names = (shard_name(split_name, number), sidecar_name(split_name, number))
            for entries, file_name, column in zip((shards, sidecar), file_names, columns.T, strict=False):
                entries.append(
                    {"file": file_name, "tokens": len(column), "sha256": write_shard(staging_dir / file_name, column)}
                )
        index |= {"tokens": sum(row["tokens"] for row in rows), "bytes": sum(row["bytes"] for row in rows)}
        index |= {"documents": rows, "shards": shards, "sidecar": sidecar}
        io.write_json(staging_dir / INDEX_FILE, index)
    return index


def shard_name(split_name: str, number: int) -> str:
    return f"{split_name}_{number:06d}.bin"


def sidecar_name(split_name: str, number: int) -> str:
    return f"{split_name}_bytes_{number:06d}.bin"


def _record_rows(documents: Iterable[EncodedDocument], rows: list[dict]) -> Iterator[np.ndarray]:
    """The documents' columns; what the index says of each is added to rows as it passes."""
    for document in documents:
        rows.append(document.to_index_row())
        yield document.stack_columns()


def rechunk(parts: Iterable[np.ndarray], chunk_length: int) -> Iterator[np.ndarray]:
    """The parts end to end, cut anew into arrays of ``length``, the last one shorter."""
    buffered, n_buffered = [], 0
    for part in parts:
        buffered.append(part)
        n_buffered += len(part)
        if n_buffered >= chunk_length:
            joined = np.concatenate(buffered)
            for start in range(0, n_buffered - chunk_length + 1, chunk_length):
                yield joined[start : start + chunk_length]
            buffered, n_buffered = [joined[n_buffered - n_buffered % chunk_length :]], n_buffered % chunk_length
    if n_buffered:
        yield np.concatenate(buffered)


def is_sidecar(path) -> bool:
    """By its name alone, which is all that tells the two apart."""
    return "_bytes_" in Path(path).name


def count_documents(index: dict) -> int:
    """Documents of a split, listed or not."""
    return index["unlisted"]["documents"] if "unlisted" in index else len(index["documents"])


def sha256_texts(documents: list[dict]) -> str:
    """sha256 of the texts of a split's rows, in their order: what ``unlisted.apart_from`` names a split by."""
    return io.sha256_json([row["text"] for row in documents])


def open_split(folder, vocab_size: int | None = None) -> TokenSplit:
    """A split with every shard checked against the index: size, sha256, ids below the vocabulary.

    vocabulary: the model's, when it matters. Raises BadArtifact naming the file.
    """
    folder = Path(folder)
    index = read_index(folder)
    if vocab_size not in (None, index["vocab_size"]):
        raise ArtifactError(
            folder / INDEX_FILE,
            f"tokens of a vocabulary of {index['vocab_size']}, model.vocab_size is {vocab_size}",
            "run fetch with this model.vocab_size",
        )
    shard_dir = resolve_shard_dir(folder, index)
    hash_cache = HashCache(shard_dir) if "root" in index else None
    shard_readers = [_open_checked_shard(shard_dir, row, hash_cache, index["vocab_size"]) for row in index["shards"]]
    token_bytes = [_open_checked_shard(shard_dir, row, hash_cache) for row in index["sidecar"]] or None
    field_names = ("vocab_size", "bos", "tokenizer_sha256", "tokens", "bytes", "documents")
    split = TokenSplit(
        index["split"], shards=shard_readers, token_bytes=token_bytes, **{name: index[name] for name in field_names}
    )
    _require_bos(folder / INDEX_FILE, split)
    if token_bytes:
        _require_sidecar_bytes(folder / INDEX_FILE, split)
    return split


def resolve_shard_dir(folder: Path, index: dict) -> Path:
    """The folder that holds the shards of this index. Raises BadArtifact where hub.root has no such folder."""
    return root.resolve_subfolder(folder / INDEX_FILE, index["root"]) if "root" in index else folder


def _require_bos(path: Path, split: TokenSplit) -> None:
    """Every listed document starts with BOS, and the first of any; only the first token of each is read."""
    starts = split.document_starts() if split.documents else np.zeros(1, dtype=np.int64)
    ends = np.cumsum([len(shard) for shard in split.shards])
    shard_numbers = np.searchsorted(ends, starts, side="right")
    for shard_number, start in zip(shard_numbers, starts, strict=True):
        if split.shards[shard_number][start - ends[shard_number]] != split.bos:
            raise ArtifactError(path, f"no BOS at token {start:,}, where it starts a document", RERUN_HINT)


def _require_sidecar_bytes(path: Path, split: TokenSplit) -> None:
    """The sidecar gives each document the bytes that the index says it has, and none of them to its BOS."""
    starts = split.document_starts()
    token_bytes = np.concatenate(split.token_bytes)
    document_bytes = np.add.reduceat(token_bytes, starts, dtype=np.int64)
    for number, (n_bytes, row) in enumerate(zip(document_bytes, split.documents, strict=True)):
        if n_bytes != row["bytes"]:
            problem = f"its sidecar gives document {number} {n_bytes:,} bytes, it has {row['bytes']:,}"
            raise ArtifactError(path, problem, RERUN_HINT)
    if token_bytes[starts].any():
        number = int(np.flatnonzero(token_bytes[starts])[0])
        raise ArtifactError(
            path, f"its sidecar gives bytes to the BOS of document {number}, which is no text", RERUN_HINT
        )


def read_index(folder: Path) -> dict:
    """index.json of a split, complete and in agreement with itself. Raises BadArtifact."""
    path = Path(folder) / INDEX_FILE
    index = io.read_json(path)
    is_unlisted = "unlisted" in index
    types = _INDEX_TYPES | {"bytes": type(None) if is_unlisted else int}
    _require_types(path, "", index, types | ({"root": str} if "root" in index else {}))
    if index["split"] != path.parent.name:
        raise ArtifactError(path, f"is of the split {index['split']!r}, not {path.parent.name!r}", RERUN_HINT)
    for rows, types in (("documents", DOCUMENT_TYPES), ("shards", _SHARD_TYPES), ("sidecar", _SHARD_TYPES)):
        for number, row in enumerate(index[rows]):
            _require_types(path, f"{rows}[{number}]", row, types)
    if is_unlisted:
        _require_types(path, "unlisted", index["unlisted"], _UNLISTED_TYPES)
    else:
        _require_sum(path, index, "documents", "tokens")
        _require_sum(path, index, "documents", "bytes")
    _require_sum(path, index, "shards", "tokens")
    shard_lengths = {rows: [row["tokens"] for row in index[rows]] for rows in ("shards", "sidecar")}
    if shard_lengths["sidecar"] not in ([], shard_lengths["shards"]):
        raise ArtifactError(path, "its sidecar is not cut as its shards are", RERUN_HINT)
    outside_files = [
        row["file"] for row in [*index["shards"], *index["sidecar"]] if Path(row["file"]).name != row["file"]
    ]
    if outside_files:
        raise ArtifactError(path, f"names a shard outside its folder: {outside_files[0]!r}", RERUN_HINT)
    if not 0 <= index["bos"] < index["vocab_size"] <= 1 << 16:
        raise ArtifactError(
            path, f"vocabulary {index['vocab_size']} with BOS id {index['bos']} is impossible", RERUN_HINT
        )
    return index


def _require_sum(path: Path, index: dict, rows: str, key: str) -> None:
    """There are rows, none without a token, and they add up to what the index says of the whole."""
    if not index[rows]:
        raise ArtifactError(path, f"lists no {rows}", RERUN_HINT)
    min_tokens = min(row["tokens"] for row in index[rows])
    if min_tokens < 1 or sum(row[key] for row in index[rows]) != index[key]:
        raise ArtifactError(path, f"the {key} of its {rows} do not add up to {index[key]:,}", RERUN_HINT)


def _require_types(path: Path, location: str, value, types: dict[str, type]) -> None:
    if not isinstance(value, dict):
        raise ArtifactError(path, f"{location} is no object", RERUN_HINT)
    for key, expected_type in types.items():
        if type(value.get(key)) is not expected_type:
            name = f"{location}.{key}".lstrip(".")
            raise ArtifactError(
                path, f"{name} must be {expected_type.__name__}, got {value.get(key)!r:.60}", RERUN_HINT
            )


def _open_checked_shard(
    shard_dir: Path, row: dict, hash_cache: HashCache | None, vocab_size: int | None = None
) -> ShardReader:
    """The shard of one row. hashes: of a root, where what it knows was checked when it was noted."""
    path = shard_dir / row["file"]
    shard = read_shard(path)
    if len(shard) != row["tokens"]:
        raise ArtifactError(path, f"holds {len(shard):,} tokens, the index says {row['tokens']:,}", RERUN_HINT)
    cached_sha256 = hash_cache.lookup(row["file"]) if hash_cache else None
    if (cached_sha256 or io.sha256_file(path)) != row["sha256"]:
        raise ArtifactError(path, "its sha256 is not the index's: the file is damaged or from another run", RERUN_HINT)
    if vocab_size and not cached_sha256:
        require_ids_below(path, int(shard[:].max()), vocab_size)
    return shard


def require_ids_below(path: Path, max_id: int, vocab_size: int) -> None:
    if max_id >= vocab_size:
        raise ArtifactError(
            path, f"holds the id {max_id}, ids must be below the vocabulary of {vocab_size}", RERUN_HINT
        )


@contextlib.contextmanager
def replace_together(*paths):
    """A temporary folder beside ``paths`` (all in one folder); when the block ends well, what it made under their
    names replaces them in the order given; when it does not, everything is as before.
    """
    paths = [Path(path) for path in paths]
    parent_dir = paths[0].parent
    parent_dir.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(dir=parent_dir, prefix=".", suffix=".partial"))
    try:
        yield work_dir
        for path in paths:
            if path.is_dir():
                path.rename(work_dir / f"{path.name}.old")
            (work_dir / path.name).replace(path)
    finally:
        shutil.rmtree(work_dir)
