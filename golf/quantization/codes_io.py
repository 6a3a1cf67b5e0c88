"""The codes file between quantize and compress: every tensor of the model as it will be stored."""

import dataclasses

import torch

from golf.artifacts import io
from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config import validation
from golf.config.model import ModelConfig
from golf.errors import ArtifactError, DivergenceError

KIND = "codes"


def to_storage(
    quantized: dict[str, QuantizedTensor], small_tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The parts of each quantised tensor under its name and their suffixes (grid.py), small ones in fp16 under theirs.

    ``grid.weights`` is the way back. Raises Diverged, naming the tensor, when a small one is beyond fp16.
    """
    stored = {}
    for name, tensor in small_tensors.items():
        stored[name] = tensor.half()
        if not stored[name].isfinite().all():
            raise DivergenceError(
                f"{name}: holds {tensor.abs().max():.3g}, which is beyond fp16; train again with a lower rate"
            )
    for name, qtensor in quantized.items():
        stored[name + quantized_tensor.CODES_SUFFIX], stored[name + quantized_tensor.ROW_SCALES_SUFFIX] = (
            qtensor.codes,
            qtensor.row_scales,
        )
        if qtensor.col_scales is not None:
            stored[name + quantized_tensor.COL_SCALES_SUFFIX] = qtensor.col_scales
    return stored


def save(path, stored: dict[str, torch.Tensor], model_cfg: ModelConfig, **metadata) -> None:
    """meta: what else is worth knowing, bits and lineage above all."""
    io.save_tensors(path, stored, kind=KIND, meta={"shape": dataclasses.asdict(model_cfg), **metadata})


def load(path) -> tuple[dict[str, torch.Tensor], ModelConfig]:
    """What was saved. Raises BadArtifact: damaged, or without a valid model shape."""
    stored, metadata = io.load_tensors(path, kind=KIND)
    model_cfg, problems = validation.from_mapping(ModelConfig, metadata.get("shape"), "model")
    if problems:
        raise ArtifactError(path, f"its model shape is not valid: {problems[0]}", io.RERUN_HINT)
    return stored, model_cfg
