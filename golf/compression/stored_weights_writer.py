"""What a file has beside codes and scales: the rotation of ``quantize.rotate``, the repairs of ``quantize.lqer``.

``golf.compression.stored_weights`` reads them; only that ships, with ``rotation`` and ``low_rank``.
"""

# O output features (rows), I input features (columns), G groups of columns, r rank

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from golf.compression import quantized_tensor
from golf.compression.low_rank import GROUP
from golf.compression.quantized_tensor import EMBEDDING_WEIGHT, QuantizedTensor
from golf.compression.rotation import make_rotation
from golf.compression.stored_weights import LOW_RANK_PREFIX, ROTATION_SEED

__all__ = ["factorize", "fit_repairs", "rotate_inputs"]

_LEFT_LEVELS, _RIGHT_LEVELS = (-2, 1), (-8, 7)  # of two and of four bits
_LEFT_RANGE, _RIGHT_RANGE = 1.5, 7.5  # steps up to the largest number


def rotate_inputs(
    weights: Mapping[str, torch.Tensor],
    hessians: Mapping[str, torch.Tensor],
    inputs: Mapping[str, str],
    seed: int | None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights and Hessians in the rotated basis, and what a file stores of the rotation.

    weights: fp32 [O, I] by tensor name; those in ``inputs`` turn, the embedding excepted. hessians: fp32 [I, I] by
    input name. inputs: from tensor name to input name. seed: None for no rotation, which stores nothing.
    """
    rotated, hessian_by_input = dict(weights), dict(hessians)
    if seed is None:
        return rotated, hessian_by_input, {}
    for name in inputs.keys() - {EMBEDDING_WEIGHT}:
        turn_II = make_rotation(seed, weights[name].shape[1])
        rotated[name] = (weights[name].double() @ turn_II).float()
        hessian_by_input[inputs[name]] = (turn_II.T @ hessians[inputs[name]].double() @ turn_II).float()
    return rotated, hessian_by_input, {ROTATION_SEED: torch.tensor([float(seed)])}


def fit_repairs(
    weights: Mapping[str, torch.Tensor], quantized: Mapping[str, QuantizedTensor], rank: int | None, n_tensors: int
) -> dict[str, torch.Tensor]:
    """Return the repairs of the ``n_tensors`` tensors whose squared error is largest, by the names of stored tensors.

    weights: fp32 [O, I], what was quantized. rank: of each repair; None: no repairs.
    """
    if rank is None:
        return {}
    errors = {name: weights[name] - quantized_tensor.dequantize(qtensor) for name, qtensor in quantized.items()}
    worst = sorted(errors, key=lambda name: float(errors[name].double().square().sum()), reverse=True)[:n_tensors]
    return {LOW_RANK_PREFIX + name: factorize(errors[name], rank) for name in worst}


def factorize(error_OI: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the vector fp16 of the first ``rank`` singular components of an error, at most as many as it has."""
    u_OK, sizes_K, v_KI = torch.linalg.svd(error_OI.double(), full_matrices=False)
    left_Or, right_rI = u_OK[:, :rank] * sizes_K[:rank], v_KI[:rank]
    left_step = _step(left_Or.abs().amax(), _LEFT_RANGE)
    right_rGC = F.pad(right_rI, (0, -right_rI.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    right_steps_rG1 = _step(right_rGC.abs().amax(2, keepdim=True), _RIGHT_RANGE)
    left_levels_Or = (left_Or / left_step).round().clamp(*_LEFT_LEVELS)
    right_levels_rI = (right_rGC / right_steps_rG1).round().clamp(*_RIGHT_LEVELS).flatten(1)[:, : right_rI.shape[1]]
    parts = left_levels_Or, right_levels_rI, left_step * right_steps_rG1
    return torch.cat([part.flatten() for part in parts]).half()


def _step(largest: torch.Tensor, n_steps: float) -> torch.Tensor:
    """1 where all is 0, so that nothing is divided by 0."""
    return torch.where(largest > 0, largest / n_steps, 1.0)
