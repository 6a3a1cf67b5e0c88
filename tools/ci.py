"""Find in dvc.yaml the files that a fresh clone pulls to run one stage, and compare two metrics.json, for CI.

A clone that holds a stage's dependencies can run that stage alone (``dvc repro -f -s``), so CI evaluates the committed
artifact on every push without training. Usage::

    dvc pull -r ci $(python -m tools.ci deps)    # what evaluate reads
    dvc push -r ci $(python -m tools.ci push)    # what the committed remote must hold after a new run
    python -m tools.ci compare BEFORE AFTER
"""

import argparse
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from golf.artifacts import io
from golf.errors import GolfError, InputError
from golf.pipeline import os_errors

PLAIN_LEDGER = "artifacts/evaluate/ledgers/plain.safetensors"
AVERAGED_WEIGHTS = "artifacts/ema/model.safetensors"  # training again takes ten minutes and gives others elsewhere
_COMPARED_KEYS = ("headline", "val_loss", "val_tokens", "verdict")  # and every val_bpb* and *_bytes
_SCORE_TOLERANCE = 1e-3  # in bpb or nats: ``dtype: auto`` chooses another precision on another machine


@dataclass(frozen=True)
class DvcStage:
    """A stage of dvc.yaml with its ${…} replaced from params.yaml. uncached_outs: the outs that Git holds."""

    deps: tuple[str, ...]
    outs: tuple[str, ...]
    uncached_outs: tuple[str, ...]
    params: tuple[str, ...]


def load_stages(root: str | Path = ".") -> dict[str, DvcStage]:
    """Return every stage of dvc.yaml by name; metrics count as outs. Raises InputError when a file can't be read."""
    return resolve_stages(read_yaml(Path(root) / "dvc.yaml"), read_yaml(Path(root) / "params.yaml"))


def resolve_stages(pipeline: dict[str, Any], params: dict[str, Any]) -> dict[str, DvcStage]:
    """Return the stages of a dvc.yaml with the values of a params.yaml."""
    return {name: _resolve_stage(stage_data, params) for name, stage_data in pipeline["stages"].items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file. Raises InputError when it is missing or is not YAML."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run this in the repository's root") from None
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None


def _resolve_stage(stage_data: dict[str, Any], values: dict[str, Any]) -> DvcStage:
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


def _interpolate(template: str, values: dict[str, Any]) -> str:
    """Replace each ``${dotted.key}`` of a path with its value. Raises InputError for a key that does not exist."""

    def lookup(match: re.Match[str]) -> str:
        node: Any = values
        for key in match[1].split("."):
            if not isinstance(node, dict) or key not in node:
                raise InputError(f"dvc.yaml: {match[0]} is not in params.yaml; add the key or correct dvc.yaml")
            node = node[key]
        return str(node)

    return re.sub(r"\$\{([\w.]+)\}", lookup, template)


def is_within(path: str, out: str) -> bool:
    """Return whether ``path`` is the out or inside it."""
    return path == out or path.startswith(f"{out}/")


def collect_upstream(stages: dict[str, DvcStage], name: str) -> set[str]:
    """Return all that can influence a stage: its dependencies, those of the stages that produce them, and so on."""
    visited: set[str] = set()
    pending = [name]
    while pending:
        for path in set(stages[pending.pop()].deps) - visited:
            visited.add(path)
            pending += [
                producer for producer, stage in stages.items() if any(is_within(path, out) for out in stage.outs)
            ]
    return visited


def list_deps_to_pull(stages: dict[str, DvcStage], name: str) -> list[str]:
    """Return the dependencies of a stage that DVC caches. Code, and what Git holds, come with the clone."""
    if name not in stages:
        raise InputError(f"{name}: no such stage; dvc.yaml has {', '.join(stages)}")
    cached_outs = [out for stage in stages.values() for out in stage.outs if out not in stage.uncached_outs]
    return [path for path in stages[name].deps if any(is_within(path, out) for out in cached_outs)]


def list_paths_to_push(stages: dict[str, DvcStage]) -> list[str]:
    """Return what the remote in the repository holds.

    That is evaluate's inputs, the scores they are compared with, and what later stages need to run again untrained.
    """
    return [*list_deps_to_pull(stages, "evaluate"), PLAIN_LEDGER, AVERAGED_WEIGHTS]


def compare_metrics(before: str | Path, after: str | Path, tolerance: float = _SCORE_TOLERANCE) -> str:
    """Compare the scores and byte counts of two metrics.json; seconds may differ.

    Raises GolfError that names each key that differs, and by how much.
    """
    old_metrics, new_metrics = io.read_json(before), io.read_json(after)
    keys = [
        key
        for key in {**old_metrics, **new_metrics}
        if key in _COMPARED_KEYS or key.startswith("val_bpb") or key.endswith("_bytes")
    ]
    if not any(key.startswith("val_bpb") for key in keys):
        raise GolfError(f"{before}, {after}: neither holds a val_bpb; name two metrics.json of evaluate")
    problems = [problem for key in keys if (problem := _describe_difference(key, old_metrics, new_metrics, tolerance))]
    if problems:
        raise GolfError(f"{after} differs from {before}:\n" + "\n".join(f"  {problem}" for problem in problems))
    return f"{after}: {len(keys)} figures agree with {before} (bpb and loss to {tolerance:g}, bytes exactly)"


def _verdict_status(verdict: Any) -> str:
    """The verdict without its reasons, which name the machine."""
    return str(verdict).partition(":")[0]


def _describe_difference(key: str, old: dict[str, Any], new: dict[str, Any], tolerance: float) -> str | None:
    """How one key differs; None when the two agree."""
    for name, metrics in (("before", old), ("after", new)):
        if key not in metrics:
            return f"{key}: missing in the file {name}"
    a, b = old[key], new[key]
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    if not are_numbers:
        is_same = _verdict_status(a) == _verdict_status(b) if key == "verdict" else a == b
        return None if is_same else f"{key}: {a!r}, now {b!r}"
    is_score = key == "val_loss" or key.startswith("val_bpb")
    is_close = abs(b - a) <= tolerance if is_score else math.isclose(a, b, rel_tol=1e-9, abs_tol=0)
    tolerance_text = f"{tolerance:g} is allowed" if is_score else "must be equal"
    return None if is_close else f"{key}: {a:.10g}, now {b:.10g}, {b - a:+.3g}; {tolerance_text}"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m tools.ci", description="What CI needs of the pipeline.")
    commands = parser.add_subparsers(dest="command", required=True)
    deps = commands.add_parser("deps", help="the files that a fresh clone pulls to run one stage")
    deps.add_argument("stage", nargs="?", default="evaluate")
    commands.add_parser("push", help="the files that the remote inside the repository holds")
    compare = commands.add_parser("compare", help="whether two metrics.json hold the same scores and byte counts")
    compare.add_argument("before")
    compare.add_argument("after")
    args = parser.parse_args(argv)
    try:
        if args.command == "compare":
            print(compare_metrics(args.before, args.after))
        elif args.command == "push":
            print(" ".join(list_paths_to_push(load_stages())))
        else:
            print(" ".join(list_deps_to_pull(load_stages(), args.stage)))
    except GolfError as error:
        print(f"tools.ci {args.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tools.ci {args.command}: {os_errors.describe_os_error(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
