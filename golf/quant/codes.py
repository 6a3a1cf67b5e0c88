"""The codes file between quantize and compress: every tensor of the model as it will be stored."""

import dataclasses

import torch

from golf.ground import schema, store
from golf.ground.errors import BadArtifact, Diverged
from golf.ground.shape import Shape
from golf.quant import grid
from golf.quant.grid import Quantized

KIND = "codes"


def flatten(quantized: dict[str, Quantized], small: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parts of each quantised tensor under its name and their suffixes (grid.py), small ones in fp16 under theirs.

    ``grid.weights`` is the way back. Raises Diverged, naming the tensor, when a small one is beyond fp16.
    """
    stored = {}
    for name, tensor in small.items():
        stored[name] = tensor.half()
        if not stored[name].isfinite().all():
            raise Diverged(
                f"{name}: holds {tensor.abs().max():.3g}, which is beyond fp16; train again with a lower rate"
            )
    for name, pair in quantized.items():
        stored[name + grid.CODES], stored[name + grid.STEPS] = pair.codes, pair.steps
        if pair.columns is not None:
            stored[name + grid.COLUMNS] = pair.columns
    return stored


def save(path, stored: dict[str, torch.Tensor], shape: Shape, **meta) -> None:
    """meta: what else is worth knowing, bits and lineage above all."""
    store.save_tensors(path, stored, kind=KIND, meta={"shape": dataclasses.asdict(shape), **meta})


def load(path) -> tuple[dict[str, torch.Tensor], Shape]:
    """What was saved. Raises BadArtifact: damaged, or without a valid model shape."""
    stored, meta = store.load_tensors(path, kind=KIND)
    shape, problems = schema.build(Shape, meta.get("shape"), "model")
    if problems:
        raise BadArtifact(path, f"its model shape is not valid: {problems[0]}", store.RERUN)
    return stored, shape
