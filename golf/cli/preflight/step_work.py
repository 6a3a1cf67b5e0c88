"""Count the work of a training step from the model's configuration: parameters, FLOP, bytes moved, bytes held.

The model is never allocated: its shapes are counted on the meta device, and what autograd keeps for the backward pass
is read off a forward pass over fake tensors, which have shapes and no memory.
"""

import functools
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from golf.cli.preflight.hardware import Hardware
from golf.config.model import ModelConfig
from golf.config.training import TrainConfig
from golf.model import flops
from golf.model.fused_cross_entropy import chunk_rows
from golf.model.gpt import GPT
from golf.training.optimizer import get_param_group

__all__ = [
    "StepWork",
    "count_parameters",
    "measure_kept_bytes",
    "plan_step",
    "predict_forward_s",
    "predict_memory",
    "predict_step_s",
]

_COMPILED_KEPT_FRAC = 0.61  # the compiler keeps 23.1 and 36.5 GB of the record model where eager keeps 38.1 and 59.3
_LOGIT_BYTES_MOVED = 16  # of each logit of a step: products, softmax and gradient, a chunk at a time
_LOGIT_BYTES_HELD = 20  # of each logit of a chunk: five fp32 tensors
_OPTIMIZER_BYTES_PER_PARAMETER = 64  # read and written a step: gradients, moments, updates, weights
_TRANSIENT_FRAC = 0.15  # of the kept activations: gradients on their way through the last layers


@dataclass(frozen=True)
class StepWork:
    """Of one rank and one step. kept_bytes: held for the backward pass of one micro-batch; moved_bytes: of all."""

    tokens: int
    flop: float
    moved_bytes: float
    kept_bytes: float


def count_parameters(model_cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter by its name; nothing is allocated."""
    with torch.device("meta"):
        model = GPT(model_cfg)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@functools.cache
def measure_kept_bytes(model_cfg: ModelConfig, dtype: torch.dtype, *, recurrent: bool) -> float:
    """Return the bytes per token that an eager forward pass over one window keeps for the backward pass.

    Weights do not count, nor the gradients that the loss computes at once.
    """
    kept: dict[int, tuple[int, torch.Tensor]] = {}  # the tensors too, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes(), tensor
        return tensor

    with FakeTensorMode():
        model = GPT(model_cfg)
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        tokens = torch.zeros(1, model_cfg.context_length, dtype=torch.int64)
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            model(tokens, recurrent=recurrent)
    copies = _count_weight_copies(model_cfg, dtype)
    return (sum(size for size, _ in kept.values()) - copies) / model_cfg.context_length


def _count_weight_copies(model_cfg: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of the weights' copies in ``dtype`` that autocast makes once a forward pass, for each matrix."""
    if dtype == torch.float32:
        return 0
    shapes = count_parameters(model_cfg)
    return sum(2 * _size(shape) for name, shape in shapes.items() if get_param_group(name) == "matrix")


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def plan_step(
    model_cfg: ModelConfig, cfg: TrainConfig, hardware: Hardware, dtype: torch.dtype, *, recurrent: bool
) -> StepWork:
    """Return what one rank does in one step, with the step's tokens divided among the devices of ``hardware``."""
    n_ranks = hardware.n_devices
    tokens = cfg.batch_tokens // n_ranks
    held_tokens = min(tokens, cfg.micro_batch_tokens)
    kept = measure_kept_bytes(model_cfg, dtype, recurrent=recurrent)
    kept *= 1.0 if cfg.compile == "off" else _COMPILED_KEPT_FRAC
    shapes = count_parameters(model_cfg)
    n_parameters = sum(map(_size, shapes.values()))
    model_flop = flops.count_flops_per_token(model_cfg, recurrent=recurrent).training * tokens
    muon_flop = sum(_count_muon_flop(shape, cfg.ns_steps) for name, shape in shapes.items() if _is_matrix(name))
    n_averages = len({*cfg.ema_decays, *cfg.ema_basis_decays})
    optimizer_bytes = n_parameters * (_OPTIMIZER_BYTES_PER_PARAMETER + 12 * n_averages)
    return StepWork(
        tokens=tokens,
        flop=model_flop + muon_flop / n_ranks,
        moved_bytes=hardware.passes * kept * tokens
        + _LOGIT_BYTES_MOVED * model_cfg.vocab_size * tokens
        + optimizer_bytes,
        kept_bytes=kept * held_tokens,
    )


def _is_matrix(name: str) -> bool:
    return get_param_group(name) == "matrix"


def _count_muon_flop(shape: tuple[int, ...], ns_steps: int) -> int:
    """FLOP of Newton–Schulz on one matrix: X Xᵀ, its square, and their product with X."""
    small, large = sorted(shape)
    return ns_steps * (4 * small * small * large + 2 * small**3)


def predict_step_s(work: StepWork, hardware: Hardware) -> float:
    """Return the seconds of a step by the roofline of ``hardware``."""
    product_s = work.flop / (hardware.matmul_frac * hardware.peak_flops)
    return product_s + work.moved_bytes / hardware.bytes_per_s + hardware.fixed_s


def predict_forward_s(
    model_cfg: ModelConfig, hardware: Hardware, kept_bytes_per_token: float, *, recurrent: bool, is_compiled: bool
) -> float:
    """Return the seconds of one device for the forward pass of one token in a full window.

    kept_bytes_per_token: see ``measure_kept_bytes``; a forward pass moves a third of what a training step does.
    """
    kept = kept_bytes_per_token * (_COMPILED_KEPT_FRAC if is_compiled else 1.0)
    moved = hardware.passes / 3 * kept + _LOGIT_BYTES_MOVED / 2 * model_cfg.vocab_size
    flop = flops.count_flops_per_token(model_cfg, recurrent=recurrent).forward
    return flop / (hardware.matmul_frac * hardware.peak_flops) + moved / hardware.bytes_per_s


def predict_memory(model_cfg: ModelConfig, cfg: TrainConfig, hardware: Hardware, work: StepWork) -> dict[str, float]:
    """Return the bytes that a rank holds at the peak of a step, by what they are for."""
    shapes = count_parameters(model_cfg)
    n_parameters = sum(map(_size, shapes.values()))
    n_matrix = sum(_size(shape) for name, shape in shapes.items() if _is_matrix(name))
    device = torch.device("cuda" if hardware.is_gpu else "cpu")
    held_tokens = min(work.tokens, cfg.micro_batch_tokens)
    chunk_logits = min(held_tokens, chunk_rows(held_tokens, model_cfg.vocab_size, device)) * model_cfg.vocab_size
    n_averages = len({*cfg.ema_decays, *cfg.ema_basis_decays})
    return {
        "weights": 4.0 * n_parameters,
        "gradients": 4.0 * n_parameters,
        "optimizer": 8.0 * (n_parameters - n_matrix) + 4.0 * n_matrix / hardware.n_devices,
        "averages": 4.0 * n_parameters * n_averages,
        "activations": work.kept_bytes * (1 + _TRANSIENT_FRAC),
        "logits of a chunk": float(_LOGIT_BYTES_HELD * chunk_logits),
    }
