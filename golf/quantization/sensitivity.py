"""Output sensitivity: the diagonal Fisher information of each layer's output, a_o = E[(∂L/∂y_o)²].

It is the output factor of K-FAC (arXiv:1503.05671), diagonal only: a change E of the weights raises the loss by
½ Σ_o a_o e_o H e_oᵀ nats per token in expectation, with H the mean of x xᵀ over the layer's inputs. Targets are sampled
from the model's own predictions, as the Fisher information requires. A layer that runs several times adds up its
passes, as its Hessian does.

The tied embedding has two roles. As the output head, its row i has the sensitivity E[p_i (1 - p_i) s_i²], with s_i the
slope of the soft cap; this needs no sampling. As the input, row i gets the squared gradient that arrives at tokens i,
averaged over the columns. The two are added.
"""

# B windows, T positions, O rows

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from golf.artifacts import io
from golf.compression.quantized_tensor import EMBEDDING_WEIGHT
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, DivergenceError
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians

__all__ = ["BACKWARD_COST", "KIND", "estimate_output_fisher", "load", "save"]

KIND = "sensitivity"
BACKWARD_COST = 4  # forward and backward of a window, in forward passes; it also holds that much more memory
_DIVERGED = "so the weights have diverged; retrain with lower learning rates"


def estimate_output_fisher(
    model: GPT,
    tensor_names: Collection[str],
    windows: torch.Tensor,
    *,
    micro_rows: int,
    seed: int,
    ctx: DistContext,
    progress: Progress | None = None,
) -> tuple[dict[str, torch.Tensor], float]:
    """Return (a fp32 [O] on the device by tensor name, the mean over tokens; seconds of the slowest rank).

    tensor_names: weights of the model. windows: integer [B, context_length + 1], the same on every rank; rank r of n
    takes windows r, r + n, …, ``micro_rows`` at a time, in eager mode. seed: of the sampled targets.
    Raises DivergenceError when predictions are not finite, or, naming the tensor, when a gradient is not.
    """
    start_time, local_windows = time.perf_counter(), windows[ctx.rank :: ctx.world_size].long()
    sum_of_squares = {name: torch.zeros(model.get_parameter(name).shape[0], device=ctx.device) for name in tensor_names}
    rng = torch.Generator(ctx.device).manual_seed(seed + ctx.rank)

    def make_hook(name: str) -> Callable[[Any, Any, tuple[torch.Tensor, ...]], None]:
        return lambda _, __, gradients: _accumulate_squares(sum_of_squares[name], gradients[0])

    embedding_leaf: list[torch.Tensor] = []

    def detach_embedding(_: Any, __: Any, embedding: torch.Tensor) -> torch.Tensor:
        embedding_leaf[:] = [embedding.detach().requires_grad_()]
        return embedding_leaf[0]

    with ExitStack() as hooks:
        hooks.callback(model.requires_grad_, True)
        model.requires_grad_(False)  # only gradients of activations are needed
        hooks.callback(model.tok_emb.register_forward_hook(detach_embedding).remove)
        for name in tensor_names:
            if name != EMBEDDING_WEIGHT:
                module = model.get_submodule(name.removesuffix(".weight"))
                hooks.callback(module.register_full_backward_hook(make_hook(name)).remove)
        micro_batches = local_windows.split(micro_rows) if len(local_windows) else ()
        for n_micro_batches, micro_batch in enumerate(micro_batches, start=1):
            tokens = micro_batch[:, :-1].to(ctx.device)
            with ctx.autocast():
                logits = model.logits(model(tokens, recurrent=True)).flatten(0, 1)
            if not logits.isfinite().all():
                raise DivergenceError(f"model: its predictions are not finite, {_DIVERGED}")
            probs = logits.detach().softmax(-1)
            sampled_targets = torch.multinomial(probs, 1, generator=rng).flatten()
            F.cross_entropy(logits, sampled_targets, reduction="sum").backward()
            if EMBEDDING_WEIGHT in sum_of_squares:
                embedding_sum = sum_of_squares[EMBEDDING_WEIGHT]
                capped = logits.detach()
                softcap_slope = 1 - (capped / model.get_softcap(capped)).square()
                embedding_sum += (probs * (1 - probs) * softcap_slope.square()).sum(0)
                input_squares = embedding_leaf[0].grad.flatten(0, 1).square().mean(1)
                embedding_sum.index_add_(0, tokens.flatten(), input_squares)
            if progress:
                progress.update(min(n_micro_batches * micro_rows, len(local_windows)))
    n_tokens = max(1, windows.shape[0] * (windows.shape[1] - 1))
    for name in tensor_names:
        if not ctx.all_reduce(sum_of_squares[name]).isfinite().all():
            raise DivergenceError(f"{name}: the gradient of its output is not finite, {_DIVERGED}")
        sum_of_squares[name] /= n_tokens
    return sum_of_squares, ctx.all_reduce_max(time.perf_counter() - start_time)


def _accumulate_squares(total_O: torch.Tensor, grad: torch.Tensor) -> None:
    """Add the squared gradients of all positions in place, in fp32."""
    total_O += grad.detach().flatten(0, -2).float().square().sum(0)


def save(path: str | Path, sensitivity: dict[str, torch.Tensor], **metadata: Any) -> None:
    """Write sensitivities with ``metadata``, which holds the lineage."""
    io.save_tensors(path, sensitivity, kind=KIND, meta=metadata)


def load(
    path: str | Path, state_dict: dict[str, torch.Tensor], tensor_names: Collection[str], weights_path: str | Path
) -> dict[str, torch.Tensor]:
    """Return a [O] by tensor name. state_dict: the weights that are to be quantized, as read from ``weights_path``.

    Raises ArtifactError: damaged, measured on other weights, or without a finite number >= 0 for each row of a tensor
    in ``tensor_names``.
    """
    sensitivity, metadata = io.load_tensors(path, kind=KIND)
    hessians.require_same_weights(weights_path, metadata, path)
    for name in tensor_names:
        a_O = sensitivity.get(name)
        if a_O is None or a_O.shape != state_dict[name].shape[:1] or not ((a_O >= 0) & a_O.isfinite()).all():
            raise ArtifactError(path, f"holds no sensitivity for the rows of {name}")
    return sensitivity
