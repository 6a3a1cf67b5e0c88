"""How much the loss minds a change of a layer's output: a_o = E[(dL/dy_o)²], for every row o of every quantised tensor.

The diagonal of the output's side of the Fisher matrix in K-FAC's form (arXiv:1503.05671): the expected rise of the loss
from weights moved by E is Σ_o a_o e_o H e_oᵀ / 2 nats a token, with H the mean of x xᵀ over what the layer reads. The
targets are drawn from the model's own predictions, as the Fisher matrix wants them. A looped layer adds up its passes,
as its Hessian does.

The tied embedding is used twice. As the output head its row i meets p_i (1 - p_i) times the slope of the soft cap
squared, and no sampling; as the input it meets the gradient that comes back to the tokens i, spread over its columns.
"""

# B windows, T positions, O rows

import time
from contextlib import ExitStack

import torch
import torch.nn.functional as F

from golf.artifacts import io
from golf.compression import quantized_tensor
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, DivergenceError
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians

KIND = "sensitivity"


def estimate_output_fisher(
    model: GPT,
    tensor_names,
    windows: torch.Tensor,
    *,
    micro_rows: int,
    seed: int,
    ctx: DistContext,
    progress: Progress | None = None,
) -> tuple[dict[str, torch.Tensor], float]:
    """tensor -> a_O fp32 on the device, the mean over tokens; and seconds of the slowest rank.

    tensors: names of weights of the model. windows: integer [windows, context + 1], the same on every rank, of which
    rank r of n takes r, r + n, …; micro_rows at a time, forward and backward, in eager mode.
    Raises Diverged when predictions are not finite, or, naming the tensor, when a gradient is not.
    """
    start_time, local_windows = time.perf_counter(), windows[ctx.rank :: ctx.world_size].long()
    sum_of_squares = {name: torch.zeros(model.get_parameter(name).shape[0], device=ctx.device) for name in tensor_names}
    rng = torch.Generator(ctx.device).manual_seed(seed + ctx.rank)

    def make_hook(name: str):
        return lambda _, __, gradients: _accumulate_squares(sum_of_squares[name], gradients[0])

    embedding_leaf = []

    def detach_embedding(_, __, embedding):
        embedding_leaf[:] = [embedding.detach().requires_grad_()]
        return embedding_leaf[0]

    with ExitStack() as hooks:
        hooks.callback(model.requires_grad_, True)
        model.requires_grad_(False)  # of activations alone is a gradient wanted
        hooks.callback(model.tok_emb.register_forward_hook(detach_embedding).remove)
        for name in tensor_names:
            if name != quantized_tensor.EMBEDDING_WEIGHT:
                module = model.get_submodule(name.removesuffix(".weight"))
                hooks.callback(module.register_full_backward_hook(make_hook(name)).remove)
        for n_micro_batches, micro_batch in enumerate(
            local_windows.split(micro_rows) if len(local_windows) else (), start=1
        ):
            tokens = micro_batch[:, :-1].to(ctx.device)
            with ctx.autocast():
                logits = model.logits(model(tokens, recurrent=True)).flatten(0, 1)
            if not logits.isfinite().all():
                raise DivergenceError("model: its predictions are not finite; the weights blow up, train again")
            probs = logits.detach().softmax(-1)
            sampled_targets = torch.multinomial(probs, 1, generator=rng).flatten()
            F.cross_entropy(logits, sampled_targets, reduction="sum").backward()
            if quantized_tensor.EMBEDDING_WEIGHT in sum_of_squares:
                softcap_slope = 1 - (logits.detach() / model.cfg.softcap).square()
                sum_of_squares[quantized_tensor.EMBEDDING_WEIGHT] += (probs * (1 - probs) * softcap_slope.square()).sum(
                    0
                )
                sum_of_squares[quantized_tensor.EMBEDDING_WEIGHT].index_add_(
                    0, tokens.flatten(), embedding_leaf[0].grad.flatten(0, 1).square().mean(1)
                )
            if progress:
                progress.update(min(n_micro_batches * micro_rows, len(local_windows)))
    tokens = max(1, windows.shape[0] * (windows.shape[1] - 1))
    for name in tensor_names:
        if not ctx.all_reduce(sum_of_squares[name]).isfinite().all():
            raise DivergenceError(f"{name}: the gradient of its output is not finite; the weights blow up, train again")
        sum_of_squares[name] /= tokens
    return sum_of_squares, ctx.all_reduce_max(time.perf_counter() - start_time)


def _accumulate_squares(total_O: torch.Tensor, grad: torch.Tensor) -> None:
    """In place: the sum over positions of the gradient's squares, in fp32."""
    total_O += grad.detach().flatten(0, -2).float().square().sum(0)


def save(path, sensitivity: dict[str, torch.Tensor], **metadata) -> None:
    """Write sensitivities. meta: the lineage."""
    io.save_tensors(path, sensitivity, kind=KIND, meta=metadata)


def load(path, state_dict: dict[str, torch.Tensor], tensor_names, weights_path) -> dict[str, torch.Tensor]:
    """tensor -> a_O. state: the weights to be quantised, read from the file ``weights``.

    Raises BadArtifact: damaged, of other weights, or without one finite number ≥ 0 for each row of ``tensors``.
    """
    sensitivity, metadata = io.load_tensors(path, kind=KIND)
    hessians.require_same_weights(weights_path, metadata, path)
    for name in tensor_names:
        sensitivity_O = sensitivity.get(name)
        if (
            sensitivity_O is None
            or sensitivity_O.shape != state_dict[name].shape[:1]
            or not ((sensitivity_O >= 0) & sensitivity_O.isfinite()).all()
        ):
            raise ArtifactError(path, f"holds no sensitivity for the rows of {name}", "run calibrate again")
    return sensitivity
