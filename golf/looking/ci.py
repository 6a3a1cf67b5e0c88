"""The graph as DVC resolves it, what a fresh clone must pull to run one stage, and whether two judgements agree.

A clone that holds a stage's dependencies can run that stage alone (``dvc repro -f -s``), so the evaluator is exercised
on every push without a training run.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from golf.ground import store
from golf.ground.errors import BadInput, GolfError

COMPARED = ("headline", "val_loss", "val_tokens", "verdict")  # besides every val_bpb* and *_bytes
TOLERANCE = 1e-3  # of a bpb or a loss: the precision that auto chooses differs between machines


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, its ${…} filled in from params.yaml. uncached: those of outs that Git holds."""

    deps: tuple[str, ...]
    outs: tuple[str, ...]
    uncached: tuple[str, ...]
    params: tuple[str, ...]


def graph(root=".") -> dict[str, Stage]:
    """Every stage of dvc.yaml by name, metrics among its outs. Raises BadInput when a file can't be read."""
    root = Path(root)
    values = read_yaml(root / "params.yaml")
    return {name: resolved(tree, values) for name, tree in read_yaml(root / "dvc.yaml")["stages"].items()}


def read_yaml(path: Path) -> dict:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run in the repository's root") from None
    except YAMLError as error:
        raise BadInput(f"{path}: not valid YAML ({error})") from None


def resolved(tree: dict, values: dict) -> Stage:
    outs = [entry if isinstance(entry, dict) else {entry: {}} for entry in tree["outs"] + tree.get("metrics", [])]
    cached = {filled(path, values): flags.get("cache", True) for entry in outs for path, flags in entry.items()}
    return Stage(
        deps=tuple(filled(path, values) for path in tree["deps"]),
        outs=tuple(cached),
        uncached=tuple(path for path, kept in cached.items() if not kept),
        params=tuple(tree.get("params", [])),
    )


def filled(text: str, values: dict) -> str:
    """``artifacts/${quantize.weights}/x`` with the value of the dotted key in place of ``${…}``."""

    def value(match: re.Match) -> str:
        found = values
        for part in match[1].split("."):
            if not isinstance(found, dict) or part not in found:
                raise BadInput(f"dvc.yaml: {match[0]} is not in params.yaml; add the key or mend dvc.yaml")
            found = found[part]
        return str(found)

    return re.sub(r"\$\{([\w.]+)\}", value, text)


def within(path: str, out: str) -> bool:
    return path == out or path.startswith(f"{out}/")


def upstream(stages: dict[str, Stage], name: str) -> set[str]:
    """Every dependency, its makers' dependencies, and so on: all that can influence the stage."""
    reached, waiting = set(), [name]
    while waiting:
        for path in set(stages[waiting.pop()].deps) - reached:
            reached.add(path)
            waiting += [maker for maker, stage in stages.items() if any(within(path, out) for out in stage.outs)]
    return reached


def to_pull(stages: dict[str, Stage], name: str) -> list[str]:
    """The dependencies of a stage that DVC caches; code, and what Git holds, come with the clone."""
    if name not in stages:
        raise BadInput(f"{name}: no such stage; dvc.yaml has {', '.join(stages)}")
    cached = [out for stage in stages.values() for out in stage.outs if out not in stage.uncached]
    return [path for path in stages[name].deps if any(within(path, out) for out in cached)]


def deps(stage: str = "evaluate") -> str:
    """One line for ``dvc pull``."""
    return " ".join(to_pull(graph(), stage))


def compare(before, after, tolerance: float = TOLERANCE) -> str:
    """Two metrics.json by their scores and bytes; seconds may differ. Raises GolfError naming each key that does not
    agree, and by how much."""
    old, new = store.read_json(before), store.read_json(after)
    keys = [key for key in {**old, **new} if key in COMPARED or key.startswith("val_bpb") or key.endswith("_bytes")]
    if not any(key.startswith("val_bpb") for key in keys):
        raise GolfError(f"{before}, {after}: hold no val_bpb; name two metrics.json of evaluate")
    wrong = [said for key in keys if (said := difference(key, old, new, tolerance))]
    if wrong:
        raise GolfError(f"{after} differs from {before}:\n" + "\n".join(f"  {said}" for said in wrong))
    return f"{after}: {len(keys)} figures agree with {before} (bpb and loss to {tolerance:g}, bytes exactly)"


def kind(verdict) -> str:
    """What a verdict says before its reasons, which name the machine."""
    return str(verdict).partition(":")[0]


def difference(key: str, old: dict, new: dict, tolerance: float) -> str | None:
    """What is wrong with one key; None when the two agree."""
    for name, tree in (("before", old), ("after", new)):
        if key not in tree:
            return f"{key}: not in the file {name}"
    a, b = old[key], new[key]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    if not numbers:
        same = kind(a) == kind(b) if key == "verdict" else a == b
        return None if same else f"{key}: {a!r}, now {b!r}"
    inexact = key == "val_loss" or key.startswith("val_bpb")
    agree = abs(b - a) <= tolerance if inexact else math.isclose(a, b, rel_tol=1e-9, abs_tol=0)
    allowed = f"{tolerance:g} is allowed" if inexact else "must be equal"
    return None if agree else f"{key}: {a:.10g}, now {b:.10g}, {b - a:+.3g}; {allowed}"
