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

from golf.artifacts import io
from golf.errors import GolfError, InputError

_COMPARED_KEYS = ("headline", "val_loss", "val_tokens", "verdict")  # besides every val_bpb* and *_bytes
_SCORE_TOLERANCE = 1e-3  # of a bpb or a loss: the precision that auto chooses differs between machines


@dataclass(frozen=True)
class DvcStage:
    """One stage of dvc.yaml, its ${…} filled in from params.yaml. uncached: those of outs that Git holds."""

    deps: tuple[str, ...]
    outs: tuple[str, ...]
    uncached_outs: tuple[str, ...]
    params: tuple[str, ...]


def load_stages(root=".") -> dict[str, DvcStage]:
    """Every stage of dvc.yaml by name, metrics among its outs. Raises BadInput when a file can't be read."""
    root = Path(root)
    values = read_yaml(root / "params.yaml")
    return {
        name: _resolve_stage(stage_data, values) for name, stage_data in read_yaml(root / "dvc.yaml")["stages"].items()
    }


def read_yaml(path: Path) -> dict:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run in the repository's root") from None
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None


def _resolve_stage(stage_data: dict, values: dict) -> DvcStage:
    outs = [
        entry if isinstance(entry, dict) else {entry: {}}
        for entry in stage_data["outs"] + stage_data.get("metrics", [])
    ]
    is_cached_by_path = {
        _interpolate(path, values): flags.get("cache", True) for entry in outs for path, flags in entry.items()
    }
    return DvcStage(
        deps=tuple(_interpolate(path, values) for path in stage_data["deps"]),
        outs=tuple(is_cached_by_path),
        uncached_outs=tuple(path for path, is_cached in is_cached_by_path.items() if not is_cached),
        params=tuple(stage_data.get("params", [])),
    )


def _interpolate(template: str, values: dict) -> str:
    """``artifacts/${quantize.weights}/x`` with the value of the dotted key in place of ``${…}``."""

    def lookup(match: re.Match) -> str:
        node = values
        for key in match[1].split("."):
            if not isinstance(node, dict) or key not in node:
                raise InputError(f"dvc.yaml: {match[0]} is not in params.yaml; add the key or mend dvc.yaml")
            node = node[key]
        return str(node)

    return re.sub(r"\$\{([\w.]+)\}", lookup, template)


def is_within(path: str, out: str) -> bool:
    return path == out or path.startswith(f"{out}/")


def collect_upstream(stages: dict[str, DvcStage], name: str) -> set[str]:
    """Every dependency, its makers' dependencies, and so on: all that can influence the stage."""
    visited, pending = set(), [name]
    while pending:
        for path in set(stages[pending.pop()].deps) - visited:
            visited.add(path)
            pending += [
                producer for producer, stage in stages.items() if any(is_within(path, out) for out in stage.outs)
            ]
    return visited


def list_deps_to_pull(stages: dict[str, DvcStage], name: str) -> list[str]:
    """The dependencies of a stage that DVC caches; code, and what Git holds, come with the clone."""
    if name not in stages:
        raise InputError(f"{name}: no such stage; dvc.yaml has {', '.join(stages)}")
    cached_outs = [out for stage in stages.values() for out in stage.outs if out not in stage.uncached_outs]
    return [path for path in stages[name].deps if any(is_within(path, out) for out in cached_outs)]


def format_deps_to_pull(stage: str = "evaluate") -> str:
    """One line for ``dvc pull``."""
    return " ".join(list_deps_to_pull(load_stages(), stage))


def compare_metrics(before, after, tolerance: float = _SCORE_TOLERANCE) -> str:
    """Two metrics.json by their scores and bytes; seconds may differ. Raises GolfError naming each key that does not
    agree, and by how much."""
    old_metrics, new_metrics = io.read_json(before), io.read_json(after)
    keys = [
        key
        for key in {**old_metrics, **new_metrics}
        if key in _COMPARED_KEYS or key.startswith("val_bpb") or key.endswith("_bytes")
    ]
    if not any(key.startswith("val_bpb") for key in keys):
        raise GolfError(f"{before}, {after}: hold no val_bpb; name two metrics.json of evaluate")
    problems = [problem for key in keys if (problem := _describe_difference(key, old_metrics, new_metrics, tolerance))]
    if problems:
        raise GolfError(f"{after} differs from {before}:\n" + "\n".join(f"  {said}" for said in problems))
    return f"{after}: {len(keys)} figures agree with {before} (bpb and loss to {tolerance:g}, bytes exactly)"


def _verdict_status(verdict) -> str:
    """What a verdict says before its reasons, which name the machine."""
    return str(verdict).partition(":")[0]


def _describe_difference(key: str, old: dict, new: dict, tolerance: float) -> str | None:
    """What is wrong with one key; None when the two agree."""
    for name, metrics in (("before", old), ("after", new)):
        if key not in metrics:
            return f"{key}: not in the file {name}"
    a, b = old[key], new[key]
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    if not are_numbers:
        is_same = _verdict_status(a) == _verdict_status(b) if key == "verdict" else a == b
        return None if is_same else f"{key}: {a!r}, now {b!r}"
    is_score = key == "val_loss" or key.startswith("val_bpb")
    is_close = abs(b - a) <= tolerance if is_score else math.isclose(a, b, rel_tol=1e-9, abs_tol=0)
    tolerance_text = f"{tolerance:g} is allowed" if is_score else "must be equal"
    return None if is_close else f"{key}: {a:.10g}, now {b:.10g}, {b - a:+.3g}; {tolerance_text}"
