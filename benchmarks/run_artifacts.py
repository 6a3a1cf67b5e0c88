"""The artifacts of a complete run that quantization reads: weights, Hessians, sensitivities."""

from dataclasses import dataclass
from pathlib import Path

import torch

from golf.artifacts import io
from golf.config.model import ModelConfig

__all__ = ["RunArtifacts"]


@dataclass(frozen=True)
class RunArtifacts:
    """state_dict: the averaged weights. hessians: by input name. sensitivity: a_O by tensor name.

    input_names: from each quantized tensor to the name of its input.
    """

    state_dict: dict[str, torch.Tensor]
    hessians: dict[str, torch.Tensor]
    sensitivity: dict[str, torch.Tensor]
    input_names: dict[str, str]
    model_cfg: ModelConfig

    @classmethod
    def load(cls, folder: Path) -> "RunArtifacts":
        """folder: the artifacts folder. Raises ArtifactError for a missing or damaged file."""
        state_dict, metadata = io.load_tensors(folder / "ema/model.safetensors", kind="weights")
        hessians, hessian_metadata = io.load_tensors(folder / "calibrate/hessians.safetensors", kind="hessians")
        sensitivity, _ = io.load_tensors(folder / "calibrate/sensitivity.safetensors", kind="sensitivity")
        return cls(state_dict, hessians, sensitivity, hessian_metadata["inputs"], ModelConfig(**metadata["model"]))

    @property
    def unquantized(self) -> dict[str, torch.Tensor]:
        """The tensors that stay fp16, in fp32."""
        return {name: tensor for name, tensor in self.state_dict.items() if name not in self.input_names}
