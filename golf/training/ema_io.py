"""The averages of a run on disk: a folder with its index, exact averages, and snapshots of the traces."""

from pathlib import Path

import torch

from golf.artifacts import io
from golf.config.model import ModelConfig
from golf.errors import ArtifactError
from golf.model import checkpoint
from golf.training.ema import EMATracker, combine_snapshots, describe_covered_decays, require_posthoc


def save(folder, ema: EMATracker, model_cfg: ModelConfig, *, lineage: dict) -> None:
    """``decay_<d>.safetensors`` for each tracked decay, ``trace_<d>_step_<s>.safetensors`` for each snapshot, index."""
    folder = Path(folder)
    for decay in ema.decays:
        metadata = {"average": {"decay": decay, "step": ema.steps}}
        checkpoint.save(_decay_path(folder, decay), ema.copy_average(decay), model_cfg, lineage=lineage, **metadata)
    for step, weights_by_decay in ema.snapshots.items():
        for basis_decay, weights in weights_by_decay.items():
            metadata = {"average": {"decay": basis_decay, "step": step}}
            checkpoint.save(_snapshot_path(folder, basis_decay, step), weights, model_cfg, lineage=lineage, **metadata)
    io.write_json(
        folder / "index.json",
        {
            "steps": ema.steps,
            "decays": list(ema.decays),
            "traces": list(ema.basis_decays),
            "snapshots": sorted(ema.snapshots),
        },
    )


def load(folder, decay: float, model_cfg: ModelConfig) -> tuple[dict[str, torch.Tensor], dict, list[Path]]:
    """The average with ``decay`` after the last step; how it was had, and with what profile error; the files used.

    Raises ParamsError naming the covered range when the kept traces do not allow this decay.
    """
    folder = Path(folder)
    index = _read_index(folder)
    basis_decays, snapshot_steps, n_steps = index["traces"], index["snapshots"], index["steps"]
    info = {"decay": decay, "covered": describe_covered_decays(basis_decays, snapshot_steps, n_steps)}
    if decay in index["decays"]:
        path = _decay_path(folder, decay)
        return checkpoint.load(path, model_cfg)[0], info | {"how": "tracked", "profile_error": 0.0}, [path]
    posthoc = require_posthoc(decay, basis_decays, snapshot_steps, n_steps)
    paths = {key: _snapshot_path(folder, *key) for key in posthoc.coefficients}
    weights = combine_snapshots(posthoc, lambda *key: checkpoint.load(paths[key], model_cfg)[0])
    return weights, info | {"how": "combined", "profile_error": posthoc.error}, list(paths.values())


def _read_index(folder: Path) -> dict:
    index = io.read_json(folder / "index.json")
    if not {"steps", "decays", "traces", "snapshots"} <= index.keys():
        problem = f"expected steps, decays, traces, snapshots, got {sorted(index)}"
        raise ArtifactError(folder / "index.json", problem, io.RERUN_HINT)
    return index


def _decay_path(folder: Path, decay: float) -> Path:
    return folder / f"decay_{decay:g}.safetensors"


def _snapshot_path(folder: Path, basis_decay: float, step: int) -> Path:
    return folder / f"trace_{basis_decay:g}_step_{step:06d}.safetensors"
