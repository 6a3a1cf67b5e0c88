"""Open a split: read its index.json and check its token shards against it.

A split is a folder with ``index.json`` and shards ``<split>_%06d.bin``. Documents follow each other, each one starting
with BOS, and run over shard boundaries (docs/references.md#hub-format). index.json holds the sha256 and the size of
every document and shard. Where token ids alone do not determine how many bytes of text a token stands for, the split
has a sidecar ``<split>_bytes_%06d.bin``: one uint16 byte count per token, cut at the same positions as the shards
(PR #1729). The rows of dev's and val's documents may have ``covered``: which of their bytes occur in train
(golf.data.contamination).

The index of a very large train split lists no documents. It has ``summarized`` instead: the number of documents, and
``disjoint_from``, the digests of the texts of the other splits, which fetch compared it with and found no document in
common. Its ``bytes`` is null, because nothing is scored on it. Its shards may lie outside the workspace, in the folder
``root`` below the parameter hub.root, so that DVC does not copy 25 GB. Those shards are hashed again only when they
have changed since they were recorded (golf.artifacts.hash_cache); all other shards are hashed at every opening.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data.contamination import COVERED
from golf.data.shard_file import RERUN_HINT, ShardReader, read_shard
from golf.errors import ArtifactError, InputError

__all__ = [
    "DOCUMENT_TYPES",
    "INDEX_FILE",
    "TokenSplit",
    "count_documents",
    "is_sidecar",
    "open_split",
    "read_index",
    "require_ids_below",
    "resolve_hub_root",
    "resolve_shard_dir",
    "sha256_texts",
]

INDEX_FILE = "index.json"
DOCUMENT_TYPES: dict[str, type] = {
    "sha256": str,
    "text_sha256": str,
    "casefolded_text_sha256": str,
    "bytes": int,
    "tokens": int,
}
_INDEX_TYPES: dict[str, type] = {
    "split": str,
    "vocab_size": int,
    "bos": int,
    "tokenizer_sha256": str,
    "tokens": int,
    "documents": list,
    "shards": list,
    "sidecar": list,
}
_SHARD_TYPES: dict[str, type] = {"file": str, "tokens": int, "sha256": str}
_SUMMARY_TYPES: dict[str, type] = {"documents": int, "disjoint_from": dict}
_ROOT_HINT = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


@dataclass(frozen=True)
class TokenSplit:
    """An opened split.

    n_tokens, n_bytes: totals; n_bytes is None for a split whose documents are only summarized.
    documents: rows of index.json with the keys of DOCUMENT_TYPES; empty when summarized.
    shards: uint16 token ids. token_bytes: uint16 byte counts of the sidecar, cut as the shards are, or None.
    """

    name: str
    vocab_size: int
    bos: int
    tokenizer_sha256: str
    n_tokens: int
    n_bytes: int | None
    documents: list[dict[str, Any]]
    shards: Sequence[np.ndarray | ShardReader]
    token_bytes: Sequence[np.ndarray | ShardReader] | None = None

    def find_document_starts(self) -> np.ndarray:
        """Return int64 [documents]: the position of each listed document's BOS in ``read_tokens()``."""
        lengths = np.array([row["tokens"] for row in self.documents], dtype=np.int64)
        return np.cumsum(lengths) - lengths

    def read_tokens(self) -> np.ndarray:
        """Return uint16 [tokens]: all shards as one array."""
        return np.concatenate(self.shards)


def open_split(
    folder: Path | str, vocab_size: int | None = None, *, hub_root: str | None = None, bos_id: int | None = None
) -> TokenSplit:
    """Open a split and check every shard against the index: size, sha256, ids below the vocabulary size.

    vocab_size: the model's, which must equal the split's; None accepts any.
    hub_root: the parameter hub.root, needed when the split's shards lie there.
    bos_id: model.smear_gate_bos_id, which must be the split's; None accepts any.
    Raises ArtifactError naming the file.
    """
    folder = Path(folder)
    index = read_index(folder)
    if vocab_size not in (None, index["vocab_size"]):
        raise ArtifactError(
            folder / INDEX_FILE,
            f"the tokens are of a vocabulary of {index['vocab_size']}, model.vocab_size is {vocab_size}",
            "run fetch with this model.vocab_size",
        )
    if bos_id not in (None, index["bos"]):
        problem = f"documents start with the id {index['bos']}, model.smear_gate_bos_id is {bos_id}"
        raise ArtifactError(folder / INDEX_FILE, problem, "set model.smear_gate_bos_id to the id of the split")
    shard_dir = resolve_shard_dir(folder, index, hub_root)
    hash_cache = HashCache(shard_dir) if "root" in index else None
    shards = [_open_checked_shard(shard_dir, row, hash_cache, index["vocab_size"]) for row in index["shards"]]
    sidecar = [_open_checked_shard(shard_dir, row, hash_cache) for row in index["sidecar"]]
    split = TokenSplit(
        index["split"],
        vocab_size=index["vocab_size"],
        bos=index["bos"],
        tokenizer_sha256=index["tokenizer_sha256"],
        n_tokens=index["tokens"],
        n_bytes=index["bytes"],
        documents=index["documents"],
        shards=shards,
        token_bytes=sidecar or None,
    )
    _require_bos(folder / INDEX_FILE, split)
    if sidecar:
        _require_sidecar_bytes(folder / INDEX_FILE, split, np.concatenate(sidecar))
    return split


def resolve_shard_dir(folder: Path, index: dict[str, Any], hub_root: str | None) -> Path:
    """Return the folder that holds the shards of this index: ``folder``, or the folder ``index["root"]`` of hub.root.

    The index holds only the folder's name, so a moved root changes no digest.
    Raises ArtifactError when hub_root is None or has no such folder.
    """
    if "root" not in index:
        return folder
    name, index_path = index["root"], folder / INDEX_FILE
    if name in ("", "..") or Path(name).name != name:
        raise ArtifactError(
            index_path, f"root must be the name of a folder in hub.root, got {name!r:.80}", "run fetch again"
        )
    if not hub_root:
        raise ArtifactError(index_path, f"its shards lie in {name} of hub.root, which is null", _ROOT_HINT)
    shard_dir = resolve_hub_root(hub_root) / name
    if not shard_dir.is_dir():
        raise ArtifactError(
            index_path, f"its shards should lie in {shard_dir}, by hub.root, which does not exist", _ROOT_HINT
        )
    return shard_dir


def resolve_hub_root(hub_root: str) -> Path:
    """Return the absolute path of the parameter hub.root, which may start with ~ or be relative to the current folder.

    Raises InputError when ~ names a user without a home folder.
    """
    try:
        return Path(hub_root).expanduser().resolve()
    except RuntimeError as error:
        raise InputError(f"hub.root: {hub_root} can't be resolved ({error}); give the full path") from None


def read_index(folder: Path) -> dict[str, Any]:
    """Return index.json of a split, complete and consistent with itself. Raises ArtifactError."""
    path = folder / INDEX_FILE
    index = io.read_json(path)
    is_summarized = "summarized" in index
    types = _INDEX_TYPES | {"bytes": type(None) if is_summarized else int}
    _require_types(path, "", index, types | ({"root": str} if "root" in index else {}))
    if index["split"] != path.parent.name:
        raise ArtifactError(path, f"belongs to the split {index['split']!r}, not {path.parent.name!r}", RERUN_HINT)
    for key, types in (("documents", DOCUMENT_TYPES), ("shards", _SHARD_TYPES), ("sidecar", _SHARD_TYPES)):
        for number, row in enumerate(index[key]):
            _require_types(path, f"{key}[{number}]", row, types)
    _require_covered(path, index["documents"])
    if is_summarized:
        _require_types(path, "summarized", index["summarized"], _SUMMARY_TYPES)
    else:
        _require_sum(path, index, "documents", "tokens")
        _require_sum(path, index, "documents", "bytes")
    _require_sum(path, index, "shards", "tokens")
    shard_lengths = [row["tokens"] for row in index["shards"]]
    if [row["tokens"] for row in index["sidecar"]] not in ([], shard_lengths):
        raise ArtifactError(path, "its sidecar is not cut as its shards are", RERUN_HINT)
    for row in [*index["shards"], *index["sidecar"]]:
        if Path(row["file"]).name != row["file"]:
            raise ArtifactError(path, f"names a shard outside its folder: {row['file']!r}", RERUN_HINT)
    if not 0 <= index["bos"] < index["vocab_size"] <= 1 << 16:
        problem = f"a vocabulary of {index['vocab_size']} with BOS id {index['bos']} is impossible"
        raise ArtifactError(path, problem, RERUN_HINT)
    return index


def count_documents(index: dict[str, Any]) -> int:
    """Return the number of documents of a split, listed or summarized."""
    return index["summarized"]["documents"] if "summarized" in index else len(index["documents"])


def sha256_texts(documents: list[dict[str, Any]]) -> str:
    """Return the sha256 over the texts of a split's rows in order; ``summarized.disjoint_from`` has it by split."""
    return io.sha256_json([row["text_sha256"] for row in documents])


def is_sidecar(path: Path | str) -> bool:
    """Return whether a shard file is a sidecar, which only its name tells."""
    return "_bytes_" in Path(path).name


def require_ids_below(path: Path | str, max_id: int, vocab_size: int) -> None:
    """Raise ArtifactError when a shard holds an id outside the vocabulary."""
    if max_id >= vocab_size:
        problem = f"holds the id {max_id}, ids must be below the vocabulary size {vocab_size}"
        raise ArtifactError(path, problem, RERUN_HINT)


def _require_covered(path: Path, documents: list[dict[str, Any]]) -> None:
    """Either no document has covered ranges, or all have: ascending, apart, within the document's bytes."""
    if not any(COVERED in row for row in documents):
        return
    for number, row in enumerate(documents):
        if not _are_ranges(row.get(COVERED), row["bytes"]):
            problem = f"documents[{number}].{COVERED} must be ascending ranges of its {row['bytes']:,} bytes"
            raise ArtifactError(path, problem, RERUN_HINT)


def _are_ranges(value: object, n_bytes: int) -> bool:
    if not isinstance(value, list) or not all(isinstance(edges, list) and len(edges) == 2 for edges in value):
        return False
    edges = [edge for pair in value for edge in pair]
    if not all(type(edge) is int for edge in edges):
        return False
    return all(a < b for a, b in itertools.pairwise([-1, *edges, n_bytes + 1]))


def _open_checked_shard(
    shard_dir: Path, row: dict[str, Any], hash_cache: HashCache | None, vocab_size: int | None = None
) -> ShardReader:
    """The shard of one row of the index. A shard whose sha256 is cached was checked when it was recorded."""
    path = shard_dir / row["file"]
    shard = read_shard(path)
    if len(shard) != row["tokens"]:
        raise ArtifactError(path, f"holds {len(shard):,} tokens, the index says {row['tokens']:,}", RERUN_HINT)
    cached_sha256 = hash_cache.lookup(row["file"]) if hash_cache else None
    if (cached_sha256 or io.sha256_file(path)) != row["sha256"]:
        problem = "its sha256 differs from the index: the file is damaged or from another run"
        raise ArtifactError(path, problem, RERUN_HINT)
    if vocab_size and not cached_sha256:
        require_ids_below(path, int(shard[:].max()), vocab_size)
    return shard


def _require_bos(path: Path, split: TokenSplit) -> None:
    """Every listed document starts with BOS, and so does the split. Reads only the first token of each document."""
    starts = split.find_document_starts() if split.documents else np.zeros(1, dtype=np.int64)
    ends = np.cumsum([len(shard) for shard in split.shards])
    shard_numbers = np.searchsorted(ends, starts, side="right")
    for shard_number, start in zip(shard_numbers, starts, strict=True):
        if split.shards[shard_number][start - ends[shard_number]] != split.bos:
            raise ArtifactError(path, f"token {start:,} starts a document and is not BOS", RERUN_HINT)


def _require_sidecar_bytes(path: Path, split: TokenSplit, token_bytes: np.ndarray) -> None:
    """The sidecar gives each document the bytes that the index says it has, and none of them to its BOS."""
    starts = split.find_document_starts()
    document_bytes = np.add.reduceat(token_bytes, starts, dtype=np.int64)
    for number, (n_bytes, row) in enumerate(zip(document_bytes, split.documents, strict=True)):
        if n_bytes != row["bytes"]:
            problem = f"its sidecar gives document {number} {n_bytes:,} bytes, the index says {row['bytes']:,}"
            raise ArtifactError(path, problem, RERUN_HINT)
    if token_bytes[starts].any():
        number = int(np.flatnonzero(token_bytes[starts])[0])
        problem = f"its sidecar gives bytes to the BOS of document {number}, which is not text"
        raise ArtifactError(path, problem, RERUN_HINT)


def _require_sum(path: Path, index: dict[str, Any], rows_key: str, key: str) -> None:
    """There are rows, each has a token, and their ``key`` adds up to the index's total."""
    rows = index[rows_key]
    if not rows:
        raise ArtifactError(path, f"lists no {rows_key}", RERUN_HINT)
    if min(row["tokens"] for row in rows) < 1 or sum(row[key] for row in rows) != index[key]:
        raise ArtifactError(path, f"the {key} of its {rows_key} do not add up to {index[key]:,}", RERUN_HINT)


def _require_types(path: Path, location: str, value: object, types: dict[str, type]) -> None:
    if not isinstance(value, dict):
        raise ArtifactError(path, f"{location} is not an object", RERUN_HINT)
    """Exact types; integers are counts. Plain comparisons, as an index may list millions of documents."""
    for key, expected_type in types.items():
        if type(value.get(key)) is not expected_type:
            name = f"{location}.{key}".lstrip(".")
            problem = f"{name} must be {expected_type.__name__}, got {value.get(key)!r:.60}"
            raise ArtifactError(path, problem, RERUN_HINT)
        if expected_type is int and value[key] < 0:
            name = f"{location}.{key}".lstrip(".")
            raise ArtifactError(path, f"{name} must be at least 0, got {value[key]}", RERUN_HINT)
