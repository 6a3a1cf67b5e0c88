"""Model weights on disk: fp32 tensors together with the model configuration they belong to."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io
from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError
from golf.model.gpt import GPT

__all__ = ["CheckpointWriter", "build_model", "iter_checkpoints", "list_checkpoints", "load", "save"]

_FILE_KIND = "weights"


def save(path: str | Path, state_dict: dict[str, torch.Tensor], model_cfg: ModelConfig, **metadata: Any) -> None:
    """Write a state dict with its model configuration. ``metadata`` is JSON: the lineage above all."""
    io.save_tensors(path, state_dict, kind=_FILE_KIND, meta={"model": dataclasses.asdict(model_cfg), **metadata})


def load(path: str | Path, model_cfg: ModelConfig) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a state dict and its metadata. Raises ArtifactError when they belong to another model configuration."""
    state_dict, metadata = io.load_tensors(path, kind=_FILE_KIND)
    _check_model_config(path, metadata, model_cfg)
    return state_dict, metadata


def _check_model_config(path: str | Path, metadata: dict[str, Any], model_cfg: ModelConfig) -> None:
    """Raise ArtifactError naming the keys in which the file's model differs from params.yaml's."""
    expected, actual = dataclasses.asdict(model_cfg), metadata.get("model", {})
    mismatches = [
        f"model.{key} is {actual.get(key)} in the file, {value} in params.yaml"
        for key, value in expected.items()
        if actual.get(key) != value
    ]
    if mismatches:
        raise ArtifactError(path, f"belongs to another configuration: {', '.join(mismatches)}")


def build_model(model_cfg: ModelConfig, state_dict: dict[str, torch.Tensor], ctx: DistContext) -> GPT:
    """Return a GPT with these weights on the context's device. Raises RuntimeError unless they fit exactly."""
    gpt = GPT(model_cfg, ctx.attention)
    gpt.load_state_dict(state_dict)
    return gpt.to(ctx.device)


class CheckpointWriter:
    """Writes ``step_<n>.safetensors`` of a model in training into a folder each time it is called."""

    def __init__(self, folder: str | Path, model: GPT, *, lineage: dict[str, Any]) -> None:
        self._folder, self._model, self._lineage = Path(folder), model, lineage

    def __call__(self, step: int, recurrent: bool) -> None:
        path = self._folder / f"step_{step:06d}.safetensors"
        save(path, self._model.state_dict(), self._model.cfg, lineage=self._lineage, step=step, recurrent=recurrent)


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Return the checkpoints of a folder in the order of their steps. Raises ArtifactError when it does not exist."""
    if not Path(folder).is_dir():
        raise ArtifactError(folder, "not found")
    return sorted(Path(folder).glob("step_*.safetensors"))


def iter_checkpoints(
    folder: str | Path, model_cfg: ModelConfig
) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """Yield (state dict, metadata) of every checkpoint of a folder, one in memory at a time."""
    for path in list_checkpoints(folder):
        yield load(path, model_cfg)
