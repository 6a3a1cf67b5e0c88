"""Lineage: a record of an artifact's inputs, code and parameters, stored in the artifact so that copies keep it.

The record is deterministic. ``splits_seen`` is the union of the data splits (train, dev, val) that influenced anything
upstream, ``seeds`` the union of the seeds; ``seed`` is the stage's own. ``dtype`` is the precision in which a stage ran
a model, whatever ``auto`` stood for; the records of other stages have no such key. ``digest`` covers all other fields
and reveals edits. It is not a signature: anyone can recompute it, but then the files at the recorded paths contradict
the record (``golf.artifacts.lineage_graph``).
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golf.artifacts import io, source_deps
from golf.errors import ArtifactError

if TYPE_CHECKING:
    import torch

__all__ = [
    "DATA_SPLITS",
    "DATA_SPLITS_OR_UNKNOWN",
    "FIELD_TYPES",
    "REPO_ROOT",
    "UNKNOWN_SPLIT",
    "hash_artifact",
    "hash_parameters",
    "hash_sources",
    "list_upstream_splits",
    "make_lineage",
    "read_lineage",
    "validate",
    "with_digest",
]

UNKNOWN_SPLIT = "unknown"
DATA_SPLITS = ("train", "dev", "val")
DATA_SPLITS_OR_UNKNOWN = (*DATA_SPLITS, UNKNOWN_SPLIT)
REPO_ROOT = Path(__file__).resolve().parents[2]  # the folder of golf/ and stages/, whatever the working directory is
FIELD_TYPES = {
    "stage": str,
    "inputs": dict,
    "code": dict,
    "parameters": str,
    "seed": int | None,
    "seeds": list,
    "ranks": int,
    "splits_seen": list,
    "digest": str,
}
_OPTIONAL_FIELD_TYPES = {"dtype": str}


def make_lineage(
    stage: str,
    inputs: Mapping[str, Path | str],
    *params: object,
    seed: int | None = None,
    world_size: int = 1,
    dtype: "torch.dtype | None" = None,
) -> dict[str, Any]:
    """Return the lineage record for an output of ``stage``, with the keys of FIELD_TYPES, and ``dtype`` if it is given.

    inputs: name -> file or split folder. A split folder counts as its split; a file contributes its own splits_seen.
    params: the parameters that influenced the output, config dataclasses or plain values.
    Raises ArtifactError naming an input whose own lineage was edited.
    """
    seeds = {upstream_seed for path in inputs.values() for upstream_seed in _list_upstream_seeds(path)}
    splits_seen = sorted(
        {split for path in inputs.values() for split in list_upstream_splits(path)}, key=DATA_SPLITS_OR_UNKNOWN.index
    )
    sorted_inputs = sorted(inputs.items())
    return with_digest(
        {
            "stage": stage,
            "inputs": {
                name: {"path": Path(path).as_posix(), "sha256": hash_artifact(path)} for name, path in sorted_inputs
            },
            "code": dict(hash_sources(stage)),
            "parameters": hash_parameters(*params),
            "seed": seed,
            "seeds": sorted(seeds.union([] if seed is None else [seed])),
            "ranks": world_size,
            "splits_seen": splits_seen,
        }
        | ({} if dtype is None else {"dtype": str(dtype).removeprefix("torch.")})
    )


def hash_parameters(*params: object) -> str:
    """sha256 of parameters, which are config dataclasses or plain values."""
    return io.sha256_json(
        [dataclasses.asdict(p) if dataclasses.is_dataclass(p) and not isinstance(p, type) else p for p in params]
    )


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the record with its digest computed anew."""
    body = {key: value for key, value in record.items() if key != "digest"}
    return body | {"digest": io.sha256_json(body)}


@functools.cache
def hash_sources(stage: str) -> dict[str, str]:
    """Return the sha256 of each source file that can change the stage's outputs, as at this process's first call."""
    return {file: io.sha256_file(REPO_ROOT / file) for file in source_deps.list_stage_sources(stage, REPO_ROOT)}


def validate(record: object, path: Path | str) -> dict[str, Any]:
    """Return ``record``, found in ``path``. Raises ArtifactError if it is no lineage record or was edited."""
    if not isinstance(record, dict) or record.keys() - _OPTIONAL_FIELD_TYPES != FIELD_TYPES.keys():
        actual = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ArtifactError(path, f"its lineage must have the keys {', '.join(FIELD_TYPES)}, got {actual}")
    if with_digest(record)["digest"] != record["digest"]:
        raise ArtifactError(path, "the lineage does not match its digest: it was edited")
    field_types = FIELD_TYPES | {key: kind for key, kind in _OPTIONAL_FIELD_TYPES.items() if key in record}
    malformed = [key for key, kind in field_types.items() if not isinstance(record[key], kind)]
    malformed += [f"inputs.{name}" for name, entry in _iter_entries(record, "inputs") if not _is_input_entry(entry)]
    malformed += [f"code.{name}" for name, digest in _iter_entries(record, "code") if not isinstance(digest, str)]
    if not malformed and not all(split in DATA_SPLITS_OR_UNKNOWN for split in record["splits_seen"]):
        malformed.append("splits_seen")
    if not malformed and not all(isinstance(seed, int) for seed in record["seeds"]):
        malformed.append("seeds")
    if malformed:
        raise ArtifactError(path, f"its lineage is malformed: {', '.join(malformed)}")
    return record


def _iter_entries(record: dict[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    return record[key].items() if isinstance(record[key], dict) else ()


def _is_input_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"path", "sha256"}
        and all(isinstance(value, str) for value in entry.values())
    )


def read_lineage(path: Path | str) -> dict[str, Any] | None:
    """Return the validated lineage of a file; None if it has none, for example because no stage wrote it.

    Tensor files and JSON files hold their own. A .golf file's is in the sizes.json next to it, provided that sizes.json
    names the file's sha256. Raises ArtifactError if the file cannot be read or its lineage was edited.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _extract_lineage(io.read_header(path)["meta"], path)
    if path.suffix == ".json":
        return _extract_lineage(io.read_json(path), path)
    sizes_path = path.with_name("sizes.json")
    if path.suffix == ".golf" and sizes_path.is_file():
        metadata = io.read_json(sizes_path)
        return _extract_lineage(metadata, sizes_path) if metadata.get("payload_sha256") == hash_artifact(path) else None
    return None


def _extract_lineage(metadata: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The lineage in a file's metadata. A ``splits_seen`` beside it must be the same as the one inside."""
    if "lineage" not in metadata:
        return None
    record = validate(metadata["lineage"], path)
    if metadata.get("splits_seen", record["splits_seen"]) != record["splits_seen"]:
        problem = f"splits_seen is {metadata['splits_seen']}, but {record['splits_seen']} in its lineage: it was edited"
        raise ArtifactError(path, problem)
    return record


def list_upstream_splits(path: Path | str) -> list[str]:
    """Return the splits that influenced a file: a split folder's own, else the lineage's, ["unknown"] without one."""
    path = Path(path)
    if path.is_dir():
        return [path.name if path.name in DATA_SPLITS else UNKNOWN_SPLIT]
    record = read_lineage(path)
    return [UNKNOWN_SPLIT] if record is None else record["splits_seen"]


def _list_upstream_seeds(path: Path | str) -> list[int]:
    """The seeds of all stages upstream of a file, the file's own stage included; none without lineage."""
    record = None if Path(path).is_dir() else read_lineage(path)
    return [] if record is None else record["seeds"]


def hash_artifact(path: Path | str) -> str:
    """Return the sha256 of a file; for a split folder, of its index.json, which holds the sha256 of every shard."""
    path = Path(path)
    return io.sha256_file(path / "index.json" if path.is_dir() else path)
