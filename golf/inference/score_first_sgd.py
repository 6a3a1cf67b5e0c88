"""Score-first test-time training: SGD on chunks whose scores are sealed (PRs #549, #1413, #1493).

docs/references.md#score-first-ttt has the recipe and its gains.
"""

# R windows (rows), T tokens of a window

import math

import numpy as np
import torch

from golf.distributed.context import DistContext
from golf.inference.interface import ScoredChunk, TTTSettings
from golf.inference.scorer import random_windows
from golf.model.gpt import GPT

__all__ = ["ScoreFirstSGD", "clip_norm_", "compute_flat_gradient", "cosine_decay", "unflatten_like"]


class ScoreFirstSGD:
    """SGD with momentum on a model's weights: v <- momentum v + g, w <- w - lr_c v.

    g is the gradient of the mean nll over a batch of windows, clipped to the norm ``grad_clip``. lr_c falls from ``lr``
    to 0 as a cosine over the chunks of the stream. The momentum buffer persists from chunk to chunk.

    With ``freeze_blocks`` above 0 only the later blocks learn, and the soft caps where the model has two. The first
    blocks stay fixed, and so do the embedding, which is the output projection too, the SmearGate and the skips. So the
    backward pass ends where the fixed blocks end, unless a repeated layer that learns runs before a fixed one.

    With compilation on, the constructor compiles the training graph on random tokens, so that no chunk pays for it.
    That step changes no weight.
    """

    def __init__(
        self,
        model: GPT,
        cfg: TTTSettings,
        ctx: DistContext,
        *,
        n_chunks: int,
        states: list[torch.Tensor] | None = None,
    ):
        """n_chunks: chunks of the whole stream. states: gets the model's states of each batch of a chunk's first epoch,
        fp32 [R, T, D], the same on every rank.
        """
        self._states = states
        self._model, self._cfg, self._ctx, self._n_chunks = model, cfg, ctx, n_chunks
        model.requires_grad_(not cfg.freeze_blocks)
        model.blocks[cfg.freeze_blocks :].requires_grad_()
        if model.cfg.asym_softcap:
            model.softcaps.requires_grad_()
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.momentum_buffer = torch.zeros(sum(weight.numel() for weight in self._weights), device=ctx.device)
        self._loss_fn = ctx.maybe_compile(self._nll_sum)
        if ctx.compile:
            self.compute_gradient(*random_windows(model.cfg, cfg.batch_tokens // model.cfg.context_length, ctx))
        self._batch_states = torch.zeros(0)  # of the last batch; a compiled graph's random tokens leave none

    def _nll_sum(self, x_RT: torch.Tensor, y_RT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the sum of the nats, the states [R, T, D])"""
        with self._ctx.autocast():
            states = self._model(x_RT, recurrent=True)
            return self._model.hidden_nll_sum(states, y_RT), states.detach()

    def train_on_chunk(self, chunk: ScoredChunk) -> None:
        """Train on a chunk, but for the stream's last one, because no score follows it.

        Raises TypeError for anything but a ScoredChunk.
        """
        if not isinstance(chunk, ScoredChunk):
            raise TypeError(f"training takes a ScoredChunk, got {type(chunk).__name__}")
        if not chunk.is_last:
            self.train_on_tokens(chunk.tokens, chunk.index)

    def train_on_tokens(self, tokens: np.ndarray, index: int) -> None:
        """Take ``epochs`` passes over the windows of ``context_length`` tokens of a chunk that was scored.

        tokens: [n + 1], the token before the chunk first, so that the targets are exactly those that were scored. Those
        after the last whole window are left out. index: of the chunk, from which its rate follows.
        """
        context_length = self._model.cfg.context_length
        n_rows = (len(tokens) - 1) // context_length
        ids = torch.from_numpy(tokens[: n_rows * context_length + 1].astype("int64")).to(self._ctx.device)
        x_RT, y_RT = ids[:-1].view(n_rows, context_length), ids[1:].view(n_rows, context_length)
        lr = self._cfg.lr * cosine_decay(index, self._n_chunks)
        batch_rows = self._cfg.batch_tokens // context_length
        for epoch in range(self._cfg.epochs):
            for x, y in zip(x_RT.split(batch_rows), y_RT.split(batch_rows), strict=True):
                self._step(x, y, lr)
                if self._states is not None and epoch == 0:
                    self._states.append(self._ctx.all_reduce(self._batch_states))

    @torch.no_grad()
    def _step(self, x_RT: torch.Tensor, y_RT: torch.Tensor, lr: float) -> None:
        gradient = clip_norm_(self.compute_gradient(x_RT, y_RT), self._cfg.grad_clip)
        self.momentum_buffer.mul_(self._cfg.momentum).add_(gradient)
        torch._foreach_add_(self._weights, unflatten_like(self.momentum_buffer, self._weights), alpha=-lr)

    def compute_gradient(self, x_RT: torch.Tensor, y_RT: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the mean nll over all of x and y, for all learned weights in one flat buffer.

        x_RT, y_RT: int64 inputs and targets, the same on every rank. The buffer is fp32 [N] for N such weights, the
        same on every rank; nll is in nats. Rank r of n computes the rows r, r + n, …; one all-reduce of the buffer adds
        them up.
        """
        own_rows = slice(self._ctx.rank, None, self._ctx.world_size)
        local_x, local_y = x_RT[own_rows].contiguous(), y_RT[own_rows].contiguous()
        self._batch_states = torch.zeros(*x_RT.shape, self._model.cfg.d_model, device=self._ctx.device)
        if not len(local_x):
            return self._ctx.all_reduce(torch.zeros_like(self.momentum_buffer))
        with torch.enable_grad():
            nats, states = self._loss_fn(local_x, local_y)
            loss = nats / y_RT.numel()
        self._batch_states[own_rows] = states.float()
        return self._ctx.all_reduce(compute_flat_gradient(loss, self._weights))


def compute_flat_gradient(loss: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """Return the gradients of all weights in one flat buffer, in their order.

    loss: a scalar. weights: of one dtype, N elements in total. The buffer has their dtype and shape [N], with zeros for
    weights that ``loss`` does not use.
    """
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights, materialize_grads=True)])


def unflatten_like(flat: torch.Tensor, weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return views of a flat buffer in the shapes of the weights, in their order.

    flat: [N], for N elements in total. Raises RuntimeError when N is another number.
    """
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def clip_norm_(gradient: torch.Tensor, max_norm: float | None) -> torch.Tensor:
    """Scale a gradient [N] in place to a norm (L2) of at most ``max_norm``, and return it; None changes nothing."""
    return gradient if max_norm is None else gradient.mul_((max_norm / (gradient.norm() + 1e-6)).clamp_max(1))


def cosine_decay(index: int, n_steps: int) -> float:
    """Return ½ (1 + cos(π index / (n_steps - 1))): 1 at the first step, 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * index / max(1, n_steps - 1)))
