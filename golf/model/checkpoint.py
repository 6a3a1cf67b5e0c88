"""Weights on disk: fp32 tensors with the shape they belong to."""

import dataclasses
from pathlib import Path

import torch

from golf.ground import store
from golf.ground.errors import BadArtifact
from golf.ground.runtime import Runtime
from golf.ground.shape import Shape
from golf.model.gpt import GPT

KIND = "weights"


def save(path, state: dict[str, torch.Tensor], shape: Shape, **meta) -> None:
    """Write a state dict. meta: what else is worth knowing, lineage above all."""
    store.save_tensors(path, state, kind=KIND, meta={"shape": dataclasses.asdict(shape), **meta})


def load(path, shape: Shape) -> tuple[dict[str, torch.Tensor], dict]:
    """The state dict and its meta. Raises BadArtifact when the weights are of another shape than ``shape``."""
    state, meta = store.load_tensors(path, kind=KIND)
    same_shape(path, meta, shape)
    return state, meta


def same_shape(path, meta: dict, shape: Shape) -> None:
    """Raises BadArtifact naming the keys in which the file's model differs from params.yaml's."""
    asked, found = dataclasses.asdict(shape), meta.get("shape", {})
    differ = [
        f"model.{key} {found.get(key)} there, {value} in params.yaml"
        for key, value in asked.items()
        if found.get(key) != value
    ]
    if differ:
        raise BadArtifact(path, f"belongs to another configuration: {', '.join(differ)}", "run dvc repro")


def model(shape: Shape, state: dict[str, torch.Tensor], here: Runtime) -> GPT:
    """A GPT with these weights on the runtime's device. The state dict must fit exactly."""
    made = GPT(shape, here.attention)
    made.load_state_dict(state)
    return made.to(here.device)


class Keeper:
    """Writes ``step_<n>.safetensors`` of a model in training into a folder, each time it is called."""

    def __init__(self, folder, model: GPT, *, lineage: dict):
        self.folder, self.model, self.lineage = Path(folder), model, lineage

    def __call__(self, step: int, looped: bool) -> None:
        path = self.folder / f"step_{step:06d}.safetensors"
        save(path, self.model.state_dict(), self.model.shape, lineage=self.lineage, step=step, looped=looped)


def kept(folder) -> list[Path]:
    """The checkpoints of a folder in the order of their steps. Raises BadArtifact when there is no such folder."""
    if not Path(folder).is_dir():
        raise BadArtifact(folder, "not found", store.RERUN)
    return sorted(Path(folder).glob("step_*.safetensors"))


def each(folder, shape: Shape):
    """(state dict, meta) of every checkpoint of a folder, one at a time."""
    for path in kept(folder):
        yield load(path, shape)
