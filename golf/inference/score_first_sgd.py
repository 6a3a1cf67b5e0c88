"""Score-first test-time training: SGD on chunks that are already sealed (PR #549, #1413, #1493; record-stack 1.7)."""

import math

import torch

from golf.distributed.context import DistContext
from golf.inference.interface import ScoredChunk
from golf.inference.scorer import random_windows
from golf.model.gpt import GPT


class ScoreFirstSGD:
    """Plain SGD with momentum over every weight; the rate falls as a cosine over the stream's chunks.

    plan: lr, momentum, epochs, clip, batch_tokens (``sections.Ttt``). chunks: of the whole stream. Momentum persists.
    Where graphs are made, a step's is made from random tokens before there is a chunk, and nothing else is left of it.
    """

    def __init__(self, model: GPT, cfg, ctx: DistContext, *, n_chunks: int):
        self._model, self._cfg, self._ctx, self._n_chunks = model, cfg, ctx, n_chunks
        self._weights = list(model.parameters())
        self.momentum_buffer = torch.zeros(sum(weight.numel() for weight in self._weights), device=ctx.device)
        self._loss_fn = ctx.maybe_compile(self._nll_sum)
        if ctx.compile:
            self.compute_gradient(*random_windows(model.cfg, cfg.batch_tokens // model.cfg.context_length, ctx))

    def _nll_sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self._ctx.autocast():
            return self._model.nll_sum(x, y, recurrent=True)

    def train_on_chunk(self, chunk: ScoredChunk) -> None:
        """Train on a sealed chunk, on exactly the targets that were scored; the last chunk could help nothing.

        What is left of the chunk after whole windows of ``context`` tokens is not trained on.
        """
        if not isinstance(chunk, ScoredChunk):
            raise TypeError(f"a learner takes sealed chunks alone, got {type(chunk).__name__}")
        if chunk.is_last:
            return
        context_length = self._model.cfg.context_length
        rows = (len(chunk.tokens) - 1) // context_length
        tokens = torch.from_numpy(chunk.tokens[: rows * context_length + 1].astype("int64")).to(self._ctx.device)
        x, y = tokens[:-1].view(rows, context_length), tokens[1:].view(rows, context_length)
        lr = self._cfg.lr * cosine_decay(chunk.index, self._n_chunks)
        for _ in range(self._cfg.epochs):
            batch_rows = self._cfg.batch_tokens // context_length
            for batch in zip(x.split(batch_rows), y.split(batch_rows), strict=True):
                self._step(*batch, lr)

    @torch.no_grad()
    def _step(self, x: torch.Tensor, y: torch.Tensor, lr: float) -> None:
        """One step on the mean over all ranks' rows; the whole gradient is one buffer, and so is the momentum."""
        gradient = clip_norm_(self.compute_gradient(x, y), self._cfg.grad_clip)
        self.momentum_buffer.mul_(self._cfg.momentum).add_(gradient)
        torch._foreach_add_(self._weights, unflatten_like(self.momentum_buffer, self._weights), alpha=-lr)

    def compute_gradient(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of the mean over x and y [rows, context], shared out over ranks, by one reduction; of all weights, flat."""
        local_inputs, local_targets = (tensor[self._ctx.rank :: self._ctx.world_size].contiguous() for tensor in (x, y))
        if not len(local_inputs):
            return self._ctx.all_reduce(torch.zeros_like(self.momentum_buffer))
        with torch.enable_grad():
            loss = self._loss_fn(local_inputs, local_targets) / y.numel()
        return self._ctx.all_reduce(compute_flat_gradient(loss, self._weights))


def compute_flat_gradient(loss: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """The gradients of the weights one after another in one buffer; zeros for those that ``loss`` does not use."""
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights, materialize_grads=True)])


def unflatten_like(flat: torch.Tensor, weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Views of a flat buffer in the shapes of the weights."""
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def clip_norm_(gradient: torch.Tensor, max_norm: float | None) -> torch.Tensor:
    """In place: no longer than ``norm``; None: as it is."""
    return gradient if max_norm is None else gradient.mul_((max_norm / (gradient.norm() + 1e-6)).clamp_max(1))


def cosine_decay(index: int, n_steps: int) -> float:
    """½ (1 + cos(π index / (chunks - 1))): 1 at the first chunk, 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * index / max(1, n_steps - 1)))
