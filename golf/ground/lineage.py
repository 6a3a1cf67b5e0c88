"""Where an artifact comes from: deterministic, inside the artifact, and never lost by copying the file.

``splits_seen`` is the union, over everything upstream, of the splits (train, dev, val) that influenced it.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

from golf.ground import store

UNKNOWN = "unknown"
SPLITS = ("train", "dev", "val", UNKNOWN)


def of(stage: str, inputs: dict[str, Path | str], *sections, seed: int | None = None, ranks: int = 1) -> dict:
    """The lineage that ``stage`` writes into what it makes.

    inputs: name -> file or split folder; a split folder counts as its own split, a tensor file brings its splits_seen.
    sections: the parameters that mattered, dataclasses or plain values.
    """
    hashed = {name: file_digest(path) for name, path in sorted(inputs.items())}
    seen = sorted({split for path in inputs.values() for split in splits_of(path)}, key=SPLITS.index)
    values = [dataclasses.asdict(s) if dataclasses.is_dataclass(s) else s for s in sections]
    parameters = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return {
        "stage": stage,
        "inputs": hashed,
        "parameters": parameters,
        "seed": seed,
        "ranks": ranks,
        "splits_seen": seen,
    }


def file_digest(path) -> str:
    """sha256 of a file; of a split folder, that of its index, which holds the sha256 of every shard."""
    path = Path(path)
    return store.digest(path / "index.json" if path.is_dir() else path)


def splits_of(path) -> list[str]:
    """Splits that influenced a file: a split folder's own name; else what its lineage says, "unknown" without one."""
    path = Path(path)
    if path.is_dir():
        return [path.name]
    if path.suffix == ".safetensors":
        return store.read_label(path)["meta"].get("lineage", {}).get("splits_seen", [UNKNOWN])
    if path.suffix == ".json":
        return store.read_json(path).get("splits_seen", [UNKNOWN])
    return [UNKNOWN]
