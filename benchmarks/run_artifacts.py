"""The artifacts of a complete run that quantization reads: weights, Hessians, sensitivities."""

from dataclasses import dataclass
from pathlib import Path

import torch

from golf.artifacts import io, source_deps
from golf.config.model import ModelConfig

__all__ = ["ROOT", "RunArtifacts", "identify_run"]

ROOT = Path(__file__).parents[1]
_CODE_ROOTS = ("golf/quantization/solver.py", "golf/compression/writer.py", "golf/model/gpt.py")


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


def identify_run(folder: Path, *own_sources: str) -> dict[str, str]:
    """Digests of a run's files, and of the code that quantizes, packs and scores; own_sources: a benchmark's own."""
    inputs = ("ema/model", "calibrate/hessians", "calibrate/sensitivity")
    files = [folder / f"{name}.safetensors" for name in inputs]
    files += [folder / f"fetch/{split}/index.json" for split in ("val", "dev")]
    sources = [*source_deps.find_import_closure(*_CODE_ROOTS, root=ROOT), *own_sources]
    return {
        "run": io.sha256_json([io.sha256_file(path) for path in files]),
        "code": io.sha256_json([io.sha256_file(ROOT / path) for path in sources]),
    }
