"""The model's weights from the tensors of a file that has extras: dequantized, repaired and turned back.

Extras have names of their own: the repair of a quantized tensor (``low_rank``), and the seed of the rotation in which
blocks' matrices were quantized (``rotation``). golf.compression.stored_weights_writer makes them.
"""

from pathlib import Path

import torch

from golf.compression.quantized_tensor import CODES_SUFFIX, EMBEDDING_WEIGHT, dequantize_state_dict
from golf.compression.reader import EXTRA_PREFIX
from golf.errors import ArtifactError

__all__ = ["LOW_RANK_PREFIX", "ROTATION_SEED", "restore", "to_state_dict"]

LOW_RANK_PREFIX = EXTRA_PREFIX + "low_rank."  # before the name of the tensor
ROTATION_SEED = EXTRA_PREFIX + "rotation_seed"  # fp16 [1]


def to_state_dict(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the model's fp32 state dict from tensors as stage quantize stores them. Raises as ``restore``."""
    extras = {name: tensor for name, tensor in stored.items() if name.startswith(EXTRA_PREFIX)}
    return restore("codes", {name: stored[name] for name in stored.keys() - extras}, extras)


def restore(
    path: str | Path, stored: dict[str, torch.Tensor], extras: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the model's fp32 state dict. Raises ArtifactError for an extra that does not fit the stored tensors."""
    state_dict = dequantize_state_dict(stored)
    codes = {name.removesuffix(CODES_SUFFIX): tensor for name, tensor in stored.items() if name.endswith(CODES_SUFFIX)}
    for key in sorted(extras):  # the repairs come before the rotation
        extra, name = extras[key], key.removeprefix(LOW_RANK_PREFIX)
        if name in codes:
            from golf.compression import low_rank

            fits = extra.shape == low_rank.stored_shape(codes[name].shape, extra.numel())
            if fits:
                state_dict[name] += low_rank.expand(extra.float(), codes[name].shape)
        elif fits := key == ROTATION_SEED and extra.shape == (1,):
            from golf.compression import rotation

            for turned in codes.keys() - {EMBEDDING_WEIGHT}:
                state_dict[turned] = rotation.rotate_back(state_dict[turned], float(extra))
        if not fits:
            raise ArtifactError(path, f"{key}, {list(extra.shape)}, does not fit its tensors")
    return state_dict
