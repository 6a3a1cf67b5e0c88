"""Where an artifact comes from: deterministic, inside the artifact, and never lost by copying the file.

``splits_seen`` is the union, over everything upstream, of the splits (train, dev, val) that influenced it, ``seeds``
that of the seeds; ``seed`` is the stage's own. ``digest`` covers all the rest, so that an edit shows. It is no
signature: who computes it anew can write what they like, which the inputs at the recorded paths then contradict
(``golf.ground.ancestry``).
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from golf.ground import closure, store
from golf.ground.errors import BadArtifact

UNKNOWN = "unknown"
TEXTS = ("train", "dev", "val")
SPLITS = (*TEXTS, UNKNOWN)
ROOT = Path(__file__).resolve().parents[2]  # what holds golf/ and stages/, whatever the current folder
TYPES = {
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


def of(stage: str, inputs: dict[str, Path | str], *sections, seed: int | None = None, ranks: int = 1) -> dict:
    """The lineage that ``stage`` writes into what it makes; its keys are those of TYPES.

    inputs: name -> file or split folder; a split folder counts as its own split, another file brings its splits_seen.
    sections: the parameters that mattered, dataclasses or plain values.
    Raises BadArtifact naming an input whose own lineage was edited.
    """
    seeds = {each for path in inputs.values() for each in seeds_of(path)}
    seen = sorted({split for path in inputs.values() for split in splits_of(path)}, key=SPLITS.index)
    values = [dataclasses.asdict(s) if dataclasses.is_dataclass(s) else s for s in sections]
    named = sorted(inputs.items())
    return sealed(
        {
            "stage": stage,
            "inputs": {name: {"path": Path(path).as_posix(), "sha256": file_digest(path)} for name, path in named},
            "code": dict(code(stage)),
            "parameters": hashlib.sha256(canonical(values)).hexdigest(),
            "seed": seed,
            "seeds": sorted(seeds.union([] if seed is None else [seed])),
            "ranks": ranks,
            "splits_seen": seen,
        }
    )


def sealed(tree: dict) -> dict:
    """The lineage with its digest, in place of one that it had."""
    rest = {key: value for key, value in tree.items() if key != "digest"}
    return rest | {"digest": hashlib.sha256(canonical(rest)).hexdigest()}


def canonical(tree) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


@functools.cache
def code(stage: str) -> dict[str, str]:
    """sha256 of each file that can change what the stage makes, as it was when this process first asked."""
    return {file: store.digest(ROOT / file) for file in closure.of_stage(stage, ROOT)}


def check(tree, path) -> dict:
    """The lineage ``tree`` that was found in ``path``. Raises BadArtifact: not one, or edited since it was written."""
    if not isinstance(tree, dict) or tree.keys() != TYPES.keys():
        got = sorted(tree) if isinstance(tree, dict) else type(tree).__name__
        raise BadArtifact(path, f"its lineage must hold {', '.join(TYPES)}, got {got}", store.RERUN)
    if sealed(tree)["digest"] != tree["digest"]:
        raise BadArtifact(path, "its lineage does not fit its digest: it was edited", store.RERUN)
    wrong = [key for key, kind in TYPES.items() if not isinstance(tree[key], kind)]
    wrong += [f"inputs.{name}" for name, found in entries(tree, "inputs") if not is_input(found)]
    wrong += [f"code.{name}" for name, found in entries(tree, "code") if not isinstance(found, str)]
    if not wrong and not all(split in SPLITS for split in tree["splits_seen"]):
        wrong.append("splits_seen")
    if not wrong and not all(isinstance(seed, int) for seed in tree["seeds"]):
        wrong.append("seeds")
    if wrong:
        raise BadArtifact(path, f"its lineage is malformed: {', '.join(wrong)}", store.RERUN)
    return tree


def entries(tree: dict, key: str):
    return tree[key].items() if isinstance(tree[key], dict) else ()


def is_input(found) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"path", "sha256"}
        and all(isinstance(value, str) for value in found.values())
    )


def read(path) -> dict | None:
    """The lineage of a file, checked; None where it has none, as any file that no stage of ours wrote.

    A tensor file and a .json hold it themselves; that of a .golf file is in the sizes.json beside it, if that is of
    these bytes. Raises BadArtifact when the file can't be read or its lineage was edited.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return checked(store.read_label(path)["meta"], path)
    if path.suffix == ".json":
        return checked(store.read_json(path), path)
    sizes = path.with_name("sizes.json")
    if path.suffix == ".golf" and sizes.is_file():
        told = store.read_json(sizes)
        return checked(told, sizes) if told.get("payload_sha256") == file_digest(path) else None
    return None


def checked(holder: dict, path) -> dict | None:
    """The lineage within what a file says of itself, which must not speak of other splits beside it."""
    if "lineage" not in holder:
        return None
    found = check(holder["lineage"], path)
    if holder.get("splits_seen", found["splits_seen"]) != found["splits_seen"]:
        problem = f"says splits_seen {holder['splits_seen']}, its lineage {found['splits_seen']}: it was edited"
        raise BadArtifact(path, problem, store.RERUN)
    return found


def splits_of(path) -> list[str]:
    """Splits that influenced a file: a split folder's own name; else what its lineage says, "unknown" without one."""
    path = Path(path)
    if path.is_dir():
        return [path.name if path.name in TEXTS else UNKNOWN]
    found = read(path)
    return [UNKNOWN] if found is None else found["splits_seen"]


def seeds_of(path) -> list[int]:
    """Seeds of the stages behind a file, its own included; none for a split's folder or a file without lineage."""
    found = None if Path(path).is_dir() else read(path)
    return [] if found is None else found["seeds"]


def file_digest(path) -> str:
    """sha256 of a file; of a split folder, that of its index, which holds the sha256 of every shard."""
    path = Path(path)
    return store.digest(path / "index.json" if path.is_dir() else path)
