"""Where an artifact comes from: deterministic, inside the artifact, and never lost by copying the file.

``splits_seen`` is the union, over everything upstream, of the splits (train, dev, val) that influenced it, ``seeds``
that of the seeds; ``seed`` is the stage's own. ``digest`` covers all the rest, so that an edit shows. It is no
signature: who computes it anew can write what they like, which the inputs at the recorded paths then contradict
(``golf.artifacts.lineage_graph``).
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from golf.artifacts import io, source_deps
from golf.errors import ArtifactError

UNKNOWN_SPLIT = "unknown"
DATA_SPLITS = ("train", "dev", "val")
DATA_SPLITS_OR_UNKNOWN = (*DATA_SPLITS, UNKNOWN_SPLIT)
REPO_ROOT = Path(__file__).resolve().parents[2]  # what holds golf/ and stages/, whatever the current folder
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


def make_lineage(
    stage: str, inputs: dict[str, Path | str], *sections, seed: int | None = None, world_size: int = 1
) -> dict:
    """The lineage that ``stage`` writes into what it makes; its keys are those of TYPES.

    inputs: name -> file or split folder; a split folder counts as its own split, another file brings its splits_seen.
    sections: the parameters that mattered, dataclasses or plain values.
    Raises BadArtifact naming an input whose own lineage was edited.
    """
    seeds = {upstream_seed for path in inputs.values() for upstream_seed in _upstream_seeds(path)}
    splits_seen = sorted(
        {split for path in inputs.values() for split in upstream_splits(path)}, key=DATA_SPLITS_OR_UNKNOWN.index
    )
    parameters = [dataclasses.asdict(s) if dataclasses.is_dataclass(s) else s for s in sections]
    sorted_inputs = sorted(inputs.items())
    return with_digest(
        {
            "stage": stage,
            "inputs": {
                name: {"path": Path(path).as_posix(), "sha256": artifact_sha256(path)} for name, path in sorted_inputs
            },
            "code": dict(source_hashes(stage)),
            "parameters": hashlib.sha256(_canonical_json(parameters)).hexdigest(),
            "seed": seed,
            "seeds": sorted(seeds.union([] if seed is None else [seed])),
            "ranks": world_size,
            "splits_seen": splits_seen,
        }
    )


def with_digest(record: dict) -> dict:
    """The lineage with its digest, in place of one that it had."""
    body = {key: value for key, value in record.items() if key != "digest"}
    return body | {"digest": hashlib.sha256(_canonical_json(body)).hexdigest()}


def _canonical_json(obj) -> bytes:
    return json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()


@functools.cache
def source_hashes(stage: str) -> dict[str, str]:
    """sha256 of each file that can change what the stage makes, as it was when this process first asked."""
    return {file: io.sha256_file(REPO_ROOT / file) for file in source_deps.stage_sources(stage, REPO_ROOT)}


def validate(record, path) -> dict:
    """The lineage ``tree`` that was found in ``path``. Raises BadArtifact: not one, or edited since it was written."""
    if not isinstance(record, dict) or record.keys() != FIELD_TYPES.keys():
        actual = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ArtifactError(path, f"its lineage must hold {', '.join(FIELD_TYPES)}, got {actual}", io.RERUN_HINT)
    if with_digest(record)["digest"] != record["digest"]:
        raise ArtifactError(path, "its lineage does not fit its digest: it was edited", io.RERUN_HINT)
    malformed = [key for key, kind in FIELD_TYPES.items() if not isinstance(record[key], kind)]
    malformed += [f"inputs.{name}" for name, entry in _iter_entries(record, "inputs") if not _is_input_entry(entry)]
    malformed += [f"code.{name}" for name, found in _iter_entries(record, "code") if not isinstance(found, str)]
    if not malformed and not all(split in DATA_SPLITS_OR_UNKNOWN for split in record["splits_seen"]):
        malformed.append("splits_seen")
    if not malformed and not all(isinstance(seed, int) for seed in record["seeds"]):
        malformed.append("seeds")
    if malformed:
        raise ArtifactError(path, f"its lineage is malformed: {', '.join(malformed)}", io.RERUN_HINT)
    return record


def _iter_entries(record: dict, key: str):
    return record[key].items() if isinstance(record[key], dict) else ()


def _is_input_entry(entry) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"path", "sha256"}
        and all(isinstance(value, str) for value in entry.values())
    )


def read_lineage(path) -> dict | None:
    """The lineage of a file, checked; None where it has none, as any file that no stage of ours wrote.

    A tensor file and a .json hold it themselves; that of a .golf file is in the sizes.json beside it, if that is of
    these bytes. Raises BadArtifact when the file can't be read or its lineage was edited.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _extract_lineage(io.read_header(path)["meta"], path)
    if path.suffix == ".json":
        return _extract_lineage(io.read_json(path), path)
    sizes_path = path.with_name("sizes.json")
    if path.suffix == ".golf" and sizes_path.is_file():
        metadata = io.read_json(sizes_path)
        return (
            _extract_lineage(metadata, sizes_path) if metadata.get("payload_sha256") == artifact_sha256(path) else None
        )
    return None


def _extract_lineage(metadata: dict, path) -> dict | None:
    """The lineage within what a file says of itself, which must not speak of other splits beside it."""
    if "lineage" not in metadata:
        return None
    record = validate(metadata["lineage"], path)
    if metadata.get("splits_seen", record["splits_seen"]) != record["splits_seen"]:
        problem = f"says splits_seen {metadata['splits_seen']}, its lineage {record['splits_seen']}: it was edited"
        raise ArtifactError(path, problem, io.RERUN_HINT)
    return record


def upstream_splits(path) -> list[str]:
    """Splits that influenced a file: a split folder's own name; else what its lineage says, "unknown" without one."""
    path = Path(path)
    if path.is_dir():
        return [path.name if path.name in DATA_SPLITS else UNKNOWN_SPLIT]
    record = read_lineage(path)
    return [UNKNOWN_SPLIT] if record is None else record["splits_seen"]


def _upstream_seeds(path) -> list[int]:
    """Seeds of the stages behind a file, its own included; none for a split's folder or a file without lineage."""
    record = None if Path(path).is_dir() else read_lineage(path)
    return [] if record is None else record["seeds"]


def artifact_sha256(path) -> str:
    """sha256 of a file; of a split folder, that of its index, which holds the sha256 of every shard."""
    path = Path(path)
    return io.sha256_file(path / "index.json" if path.is_dir() else path)
