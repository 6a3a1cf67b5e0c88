"""The averages of a run on disk: a folder with its index, exact averages, and snapshots of the traces."""

from pathlib import Path

import torch

from golf.ground import store
from golf.ground.errors import BadArtifact
from golf.ground.shape import Shape
from golf.model import checkpoint
from golf.train.ema import Averages, checked_recipe, combined, covered


def save(folder, averages: Averages, shape: Shape, *, lineage: dict) -> None:
    """``decay_<d>.safetensors`` for each tracked decay, ``trace_<d>_step_<s>.safetensors`` for each snapshot, index."""
    folder = Path(folder)
    for decay in averages.decays:
        meta = {"average": {"decay": decay, "step": averages.steps}}
        checkpoint.save(tracked_path(folder, decay), averages.copy(decay), shape, lineage=lineage, **meta)
    for step, traces in averages.snapshots.items():
        for trace, weights in traces.items():
            meta = {"average": {"decay": trace, "step": step}}
            checkpoint.save(snapshot_path(folder, trace, step), weights, shape, lineage=lineage, **meta)
    store.write_json(
        folder / "index.json",
        {
            "steps": averages.steps,
            "decays": list(averages.decays),
            "traces": list(averages.traces),
            "snapshots": sorted(averages.snapshots),
        },
    )


def load(folder, decay: float, shape: Shape) -> tuple[dict[str, torch.Tensor], dict, list[Path]]:
    """The average with ``decay`` after the last step; how it was had, and with what profile error; the files used.

    Raises ParamsError naming the covered range when the kept traces do not allow this decay.
    """
    folder = Path(folder)
    index = read_index(folder)
    traces, snapshots, steps = index["traces"], index["snapshots"], index["steps"]
    report = {"decay": decay, "covered": covered(traces, snapshots, steps)}
    if decay in index["decays"]:
        path = tracked_path(folder, decay)
        return checkpoint.load(path, shape)[0], report | {"how": "tracked", "profile_error": 0.0}, [path]
    found = checked_recipe(decay, traces, snapshots, steps)
    paths = {key: snapshot_path(folder, *key) for key in found.coefficients}
    weights = combined(found, lambda *key: checkpoint.load(paths[key], shape)[0])
    return weights, report | {"how": "combined", "profile_error": found.error}, list(paths.values())


def read_index(folder: Path) -> dict:
    index = store.read_json(folder / "index.json")
    if not {"steps", "decays", "traces", "snapshots"} <= index.keys():
        problem = f"expected steps, decays, traces, snapshots, got {sorted(index)}"
        raise BadArtifact(folder / "index.json", problem, store.RERUN)
    return index


def tracked_path(folder: Path, decay: float) -> Path:
    return folder / f"decay_{decay:g}.safetensors"


def snapshot_path(folder: Path, trace: float, step: int) -> Path:
    return folder / f"trace_{trace:g}_step_{step:06d}.safetensors"
