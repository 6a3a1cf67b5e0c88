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

from golf.ground import store
from golf.ground.errors import BadArtifact, Diverged
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.model.gpt import GPT
from golf.quant import grid, hessian

KIND = "sensitivity"


def measure(
    model: GPT,
    tensors,
    windows: torch.Tensor,
    *,
    micro_rows: int,
    seed: int,
    here: Runtime,
    progress: Progress | None = None,
) -> tuple[dict[str, torch.Tensor], float]:
    """tensor -> a_O fp32 on the device, the mean over tokens; and seconds of the slowest rank.

    tensors: names of weights of the model. windows: integer [windows, context + 1], the same on every rank, of which
    rank r of n takes r, r + n, …; micro_rows at a time, forward and backward, in eager mode.
    Raises Diverged when predictions are not finite, or, naming the tensor, when a gradient is not.
    """
    began, mine = time.perf_counter(), windows[here.rank :: here.ranks].long()
    squares = {name: torch.zeros(model.get_parameter(name).shape[0], device=here.device) for name in tensors}
    dice = torch.Generator(here.device).manual_seed(seed + here.rank)

    def watch(name: str):
        return lambda _, __, gradients: add(squares[name], gradients[0])

    read = []

    def leaf(_, __, embedded):
        read[:] = [embedded.detach().requires_grad_()]
        return read[0]

    with ExitStack() as hooks:
        hooks.callback(model.requires_grad_, True)
        model.requires_grad_(False)  # of activations alone is a gradient wanted
        hooks.callback(model.tok_emb.register_forward_hook(leaf).remove)
        for name in tensors:
            if name != grid.EMBED:
                module = model.get_submodule(name.removesuffix(".weight"))
                hooks.callback(module.register_full_backward_hook(watch(name)).remove)
        for done, part in enumerate(mine.split(micro_rows) if len(mine) else (), start=1):
            tokens = part[:, :-1].to(here.device)
            with here.autocast():
                logits = model.logits(model(tokens, looped=True)).flatten(0, 1)
            if not logits.isfinite().all():
                raise Diverged("model: its predictions are not finite; the weights blow up, train again")
            chances = logits.detach().softmax(-1)
            drawn = torch.multinomial(chances, 1, generator=dice).flatten()
            F.cross_entropy(logits, drawn, reduction="sum").backward()
            if grid.EMBED in squares:
                slope = 1 - (logits.detach() / model.shape.softcap).square()
                squares[grid.EMBED] += (chances * (1 - chances) * slope.square()).sum(0)
                squares[grid.EMBED].index_add_(0, tokens.flatten(), read[0].grad.flatten(0, 1).square().mean(1))
            if progress:
                progress.update(min(done * micro_rows, len(mine)))
    tokens = max(1, windows.shape[0] * (windows.shape[1] - 1))
    for name in tensors:
        if not here.sum(squares[name]).isfinite().all():
            raise Diverged(f"{name}: the gradient of its output is not finite; the weights blow up, train again")
        squares[name] /= tokens
    return squares, here.agree(time.perf_counter() - began)


def add(total_O: torch.Tensor, gradient: torch.Tensor) -> None:
    """In place: the sum over positions of the gradient's squares, in fp32."""
    total_O += gradient.detach().flatten(0, -2).float().square().sum(0)


def save(path, measured: dict[str, torch.Tensor], **meta) -> None:
    """Write sensitivities. meta: the lineage."""
    store.save_tensors(path, measured, kind=KIND, meta=meta)


def load(path, state: dict[str, torch.Tensor], tensors, weights) -> dict[str, torch.Tensor]:
    """tensor -> a_O. state: the weights to be quantised, read from the file ``weights``.

    Raises BadArtifact: damaged, of other weights, or without one finite number ≥ 0 for each row of ``tensors``.
    """
    measured, meta = store.load_tensors(path, kind=KIND)
    hessian.measured_on(weights, meta, path)
    for name in tensors:
        rows = measured.get(name)
        if rows is None or rows.shape != state[name].shape[:1] or not ((rows >= 0) & rows.isfinite()).all():
            raise BadArtifact(path, f"holds no sensitivity for the rows of {name}", "run calibrate again")
    return measured
