"""What a finished run left that quantisation reads: weights, Hessians, sensitivities."""

from dataclasses import dataclass
from pathlib import Path

import torch

from golf.ground import store
from golf.ground.shape import Shape


@dataclass(frozen=True)
class Finished:
    """state: averaged weights; hessians: by input; minded: a_O by tensor; inputs: tensor -> input, of what is coded."""

    state: dict[str, torch.Tensor]
    hessians: dict[str, torch.Tensor]
    minded: dict[str, torch.Tensor]
    inputs: dict[str, str]
    shape: Shape

    @classmethod
    def load(cls, folder: Path) -> "Finished":
        """folder: its artifacts. Raises BadArtifact for what is missing or damaged."""
        state, meta = store.load_tensors(folder / "ema/model.safetensors", kind="weights")
        hessians, read = store.load_tensors(folder / "calibrate/hessians.safetensors", kind="hessians")
        minded, _ = store.load_tensors(folder / "calibrate/sensitivity.safetensors", kind="sensitivity")
        return cls(state, hessians, minded, read["inputs"], Shape(**meta["shape"]))

    @property
    def small(self) -> dict[str, torch.Tensor]:
        """Tensors that stay fp16, in fp32."""
        return {name: tensor for name, tensor in self.state.items() if name not in self.inputs}
