"""The file between quantize and compress: every tensor of the model as it will be stored in the artifact."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io
from golf.compression import trellis
from golf.compression.quantized_tensor import CODES_SUFFIX, COL_SCALES_SUFFIX, ROW_SCALES_SUFFIX, QuantizedTensor
from golf.config import validation
from golf.config.model import ModelConfig
from golf.errors import ArtifactError, DivergenceError

__all__ = ["KIND", "load", "save", "to_storage"]

KIND = "codes"


def to_storage(
    quantized: dict[str, QuantizedTensor], small_tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the tensors by the names under which they are stored.

    A quantized tensor becomes ``<name>.codes``, ``<name>.row_scales`` and, with column scales, ``<name>.col_scales``.
    Small tensors become fp16 under their own names. ``stored_weights.to_state_dict`` is the inverse.

    Raises DivergenceError, naming the tensor, when a small one is beyond fp16.
    """
    stored = {}
    for name, tensor in small_tensors.items():
        stored[name] = tensor.half()
        if not stored[name].isfinite().all():
            raise DivergenceError(
                f"{name}: holds {tensor.abs().max():.3g}, beyond fp16's 65,504; train again with lower learning rates"
            )
    for name, qtensor in quantized.items():
        stored[name + CODES_SUFFIX] = qtensor.codes
        stored[name + ROW_SCALES_SUFFIX] = qtensor.row_scales
        if qtensor.col_scales is not None:
            stored[name + COL_SCALES_SUFFIX] = qtensor.col_scales
    return stored


def save(
    path: str | Path,
    stored: dict[str, torch.Tensor],
    model_cfg: ModelConfig,
    *,
    trellis_states: int | None = None,
    **metadata: Any,
) -> None:
    """Write stored tensors with the model's config and ``metadata``, such as the lineage.

    trellis_states: of the trellis that all codes follow; None if they follow none.
    """
    meta = {"model": dataclasses.asdict(model_cfg), "trellis_states": trellis_states, **metadata}
    io.save_tensors(path, stored, kind=KIND, meta=meta)


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], ModelConfig, int | None]:
    """Return the stored tensors, the model's config and the states of the codes' trellis, as given to ``save``.

    Raises ArtifactError: damaged, without a valid model config, or of a trellis that does not exist.
    """
    stored, metadata = io.load_tensors(path, kind=KIND)
    model_cfg, problems = validation.from_mapping(ModelConfig, metadata.get("model"), "model")
    if model_cfg is None or problems:
        raise ArtifactError(path, f"its model config is not valid: {problems[0]}")
    trellis_states = metadata.get("trellis_states")
    if trellis_states not in (None, *trellis.STATE_COUNTS):
        raise ArtifactError(path, f"names {trellis_states!r} states of a trellis")
    return stored, model_cfg, trellis_states
