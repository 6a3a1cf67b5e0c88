"""Score-first test-time training: SGD on chunks that are already sealed (PR #549, #1413, #1493; record-stack 1.7)."""

import math

import torch

from golf.ground.runtime import Runtime
from golf.model.gpt import GPT
from golf.score.scorer import random_windows
from golf.score.sealed import Sealed


class Learner:
    """Plain SGD with momentum over every weight; the rate falls as a cosine over the stream's chunks.

    plan: lr, momentum, epochs, clip, batch_tokens (``sections.Ttt``). chunks: of the whole stream. Momentum persists.
    Where graphs are made, a step's is made from random tokens before there is a chunk, and nothing else is left of it.
    """

    def __init__(self, model: GPT, plan, here: Runtime, *, chunks: int):
        self.model, self.plan, self.here, self.chunks = model, plan, here, chunks
        self.weights = list(model.parameters())
        self.velocity = torch.zeros(sum(weight.numel() for weight in self.weights), device=here.device)
        self.loss = here.compiled(self.summed_nll)
        if here.compile:
            self.gradient(*random_windows(model.shape, plan.batch_tokens // model.shape.context, here))

    def summed_nll(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.summed_nll(x, y, looped=True)

    def learn(self, sealed: Sealed) -> None:
        """Train on a sealed chunk, on exactly the targets that were scored; the last chunk could help nothing.

        What is left of the chunk after whole windows of ``context`` tokens is not trained on.
        """
        if not isinstance(sealed, Sealed):
            raise TypeError(f"a learner takes sealed chunks alone, got {type(sealed).__name__}")
        if sealed.last:
            return
        context = self.model.shape.context
        rows = (len(sealed.tokens) - 1) // context
        tokens = torch.from_numpy(sealed.tokens[: rows * context + 1].astype("int64")).to(self.here.device)
        x, y = tokens[:-1].view(rows, context), tokens[1:].view(rows, context)
        rate = self.plan.lr * cosine(sealed.index, self.chunks)
        for _ in range(self.plan.epochs):
            size = self.plan.batch_tokens // context
            for batch in zip(x.split(size), y.split(size), strict=True):
                self.step(*batch, rate)

    @torch.no_grad()
    def step(self, x: torch.Tensor, y: torch.Tensor, rate: float) -> None:
        """One step on the mean over all ranks' rows; the whole gradient is one buffer, and so is the momentum."""
        gradient = clipped(self.gradient(x, y), self.plan.clip)
        self.velocity.mul_(self.plan.momentum).add_(gradient)
        torch._foreach_add_(self.weights, shaped(self.velocity, self.weights), alpha=-rate)

    def gradient(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of the mean over x and y [rows, context], shared out over ranks, by one reduction; of all weights, flat."""
        mine, targets = (each[self.here.rank :: self.here.ranks].contiguous() for each in (x, y))
        if not len(mine):
            return self.here.sum(torch.zeros_like(self.velocity))
        with torch.enable_grad():
            loss = self.loss(mine, targets) / y.numel()
        return self.here.sum(flat_gradient(loss, self.weights))


def flat_gradient(loss: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """The gradients of the weights one after another in one buffer; zeros for those that ``loss`` does not use."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights, materialize_grads=True)])


def shaped(flat: torch.Tensor, weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Views of a flat buffer in the shapes of the weights."""
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def clipped(gradient: torch.Tensor, norm: float | None) -> torch.Tensor:
    """In place: no longer than ``norm``; None: as it is."""
    return gradient if norm is None else gradient.mul_((norm / (gradient.norm() + 1e-6)).clamp_max(1))


def cosine(index: int, chunks: int) -> float:
    """½ (1 + cos(π index / (chunks - 1))): 1 at the first chunk, 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * index / max(1, chunks - 1)))
