"""What a finished run left that quantisation reads: weights, Hessians, sensitivities."""

from dataclasses import dataclass
from pathlib import Path

import torch

from golf.artifacts import io
from golf.config.model import ModelConfig


@dataclass(frozen=True)
class RunArtifacts:
    """state: averaged weights; hessians: by input; minded: a_O by tensor; inputs: tensor -> input, of what is coded."""

    state_dict: dict[str, torch.Tensor]
    hessians: dict[str, torch.Tensor]
    sensitivity: dict[str, torch.Tensor]
    input_names: dict[str, str]
    model_cfg: ModelConfig

    @classmethod
    def load(cls, folder: Path) -> "RunArtifacts":
        """folder: its artifacts. Raises BadArtifact for what is missing or damaged."""
        state_dict, metadata = io.load_tensors(folder / "ema/model.safetensors", kind="weights")
        hessians, hessian_metadata = io.load_tensors(folder / "calibrate/hessians.safetensors", kind="hessians")
        sensitivity, _ = io.load_tensors(folder / "calibrate/sensitivity.safetensors", kind="sensitivity")
        return cls(state_dict, hessians, sensitivity, hessian_metadata["inputs"], ModelConfig(**metadata["shape"]))

    @property
    def unquantized(self) -> dict[str, torch.Tensor]:
        """Tensors that stay fp16, in fp32."""
        return {name: tensor for name, tensor in self.state_dict.items() if name not in self.input_names}
