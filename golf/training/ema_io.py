"""The EMA weights of a run on disk: an index, the tracked averages, and snapshots of the basis averages."""

from pathlib import Path
from typing import Annotated, Any

import torch

from golf.artifacts import json_records
from golf.artifacts.json_records import PositiveCount
from golf.config.model import ModelConfig
from golf.config.validation import Decay, Range
from golf.errors import ArtifactError
from golf.model import checkpoint
from golf.training.ema import EMATracker, combine_snapshots, describe_covered_decays, require_posthoc

__all__ = ["load", "save"]

_MAX_SNAPSHOTS = 64  # of train.ema_snapshots
_INDEX_TYPES = {
    "steps": Annotated[int, Range(low=1, high=10_000_000)],
    "decays": tuple[Decay, ...],
    "basis_decays": tuple[Decay, ...],
    "snapshots": tuple[PositiveCount, ...],
}


def save(folder: str | Path, ema: EMATracker, model_cfg: ModelConfig, *, lineage: dict[str, Any]) -> None:
    """Write ``decay_<d>.safetensors`` for each tracked decay, ``basis_<d>_step_<s>.safetensors`` for each snapshot of
    a basis average, and ``index.json``.
    """
    folder = Path(folder)
    for decay in ema.decays:
        metadata = {"ema": {"decay": decay, "step": ema.steps}}
        checkpoint.save(_get_decay_path(folder, decay), ema.copy_average(decay), model_cfg, lineage=lineage, **metadata)
    for step, weights_by_decay in ema.snapshots.items():
        for basis_decay, weights in weights_by_decay.items():
            metadata = {"ema": {"decay": basis_decay, "step": step}}
            checkpoint.save(_snapshot_path(folder, basis_decay, step), weights, model_cfg, lineage=lineage, **metadata)
    index = {
        "steps": ema.steps,
        "decays": list(ema.decays),
        "basis_decays": list(ema.basis_decays),
        "snapshots": sorted(ema.snapshots),
    }
    json_records.write_sealed(folder / "index.json", index)


def load(
    folder: str | Path, decay: float, model_cfg: ModelConfig
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[Path]]:
    """Return the average with ``decay`` after the last step, its origin and profile error, and the files used.

    Raises ConfigError, naming the covered range, when the snapshots don't allow this decay, and ArtifactError for a
    missing or malformed file.
    """
    folder = Path(folder)
    index = json_records.read_sealed(folder / "index.json", **_INDEX_TYPES)
    _require_consistent(folder / "index.json", index)
    basis_decays, snapshot_steps, n_steps = index["basis_decays"], index["snapshots"], index["steps"]
    info = {"decay": decay, "covered_decays": describe_covered_decays(basis_decays, snapshot_steps, n_steps)}
    if decay in index["decays"]:
        path = _get_decay_path(folder, decay)
        return checkpoint.load(path, model_cfg)[0], info | {"source": "tracked", "profile_error": 0.0}, [path]
    posthoc = require_posthoc(decay, basis_decays, snapshot_steps, n_steps)
    paths = {key: _snapshot_path(folder, *key) for key in posthoc.coefficients}
    weights = combine_snapshots(posthoc, lambda *key: checkpoint.load(paths[key], model_cfg)[0])
    return weights, info | {"source": "combined", "profile_error": posthoc.error}, list(paths.values())


def _require_consistent(path: Path, index: dict[str, Any]) -> None:
    steps = index["snapshots"]
    if not (0 < len(steps) <= _MAX_SNAPSHOTS and steps == sorted({*steps}) and steps[-1] <= index["steps"]):
        problem = f"snapshots must be 1 to {_MAX_SNAPSHOTS} ascending steps up to {index['steps']:,}, got {steps!r:.60}"
        raise ArtifactError(path, problem)
    if len({*index["basis_decays"]}) != 2:
        problem = f"basis_decays must be two different decays, got {index['basis_decays']!r:.60}"
        raise ArtifactError(path, problem)


def _get_decay_path(folder: Path, decay: float) -> Path:
    return folder / f"decay_{decay:g}.safetensors"


def _snapshot_path(folder: Path, basis_decay: float, step: int) -> Path:
    return folder / f"basis_{basis_decay:g}_step_{step:06d}.safetensors"
