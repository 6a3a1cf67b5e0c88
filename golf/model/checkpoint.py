"""Weights on disk: fp32 tensors with the shape they belong to."""

import dataclasses
from pathlib import Path

import torch

from golf.artifacts import io
from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError
from golf.model.gpt import GPT

_FILE_KIND = "weights"


def save(path, state_dict: dict[str, torch.Tensor], model_cfg: ModelConfig, **metadata) -> None:
    """Write a state dict. meta: what else is worth knowing, lineage above all."""
    io.save_tensors(path, state_dict, kind=_FILE_KIND, meta={"shape": dataclasses.asdict(model_cfg), **metadata})


def load(path, model_cfg: ModelConfig) -> tuple[dict[str, torch.Tensor], dict]:
    """The state dict and its meta. Raises BadArtifact when the weights are of another shape than ``shape``."""
    state_dict, metadata = io.load_tensors(path, kind=_FILE_KIND)
    _check_model_config(path, metadata, model_cfg)
    return state_dict, metadata


def _check_model_config(path, metadata: dict, model_cfg: ModelConfig) -> None:
    """Raises BadArtifact naming the keys in which the file's model differs from params.yaml's."""
    expected, actual = dataclasses.asdict(model_cfg), metadata.get("shape", {})
    mismatches = [
        f"model.{key} {actual.get(key)} there, {value} in params.yaml"
        for key, value in expected.items()
        if actual.get(key) != value
    ]
    if mismatches:
        raise ArtifactError(path, f"belongs to another configuration: {', '.join(mismatches)}", "run dvc repro")


def build_model(model_cfg: ModelConfig, state_dict: dict[str, torch.Tensor], ctx: DistContext) -> GPT:
    """A GPT with these weights on the runtime's device. The state dict must fit exactly."""
    gpt = GPT(model_cfg, ctx.attention)
    gpt.load_state_dict(state_dict)
    return gpt.to(ctx.device)


class CheckpointWriter:
    """Writes ``step_<n>.safetensors`` of a model in training into a folder, each time it is called."""

    def __init__(self, folder, model: GPT, *, lineage: dict):
        self._folder, self._model, self._lineage = Path(folder), model, lineage

    def __call__(self, step: int, recurrent: bool) -> None:
        path = self._folder / f"step_{step:06d}.safetensors"
        save(path, self._model.state_dict(), self._model.cfg, lineage=self._lineage, step=step, recurrent=recurrent)


def list_checkpoints(folder) -> list[Path]:
    """The checkpoints of a folder in the order of their steps. Raises BadArtifact when there is no such folder."""
    if not Path(folder).is_dir():
        raise ArtifactError(folder, "not found", io.RERUN_HINT)
    return sorted(Path(folder).glob("step_*.safetensors"))


def iter_checkpoints(folder, model_cfg: ModelConfig):
    """(state dict, meta) of every checkpoint of a folder, one at a time."""
    for path in list_checkpoints(folder):
        yield load(path, model_cfg)
