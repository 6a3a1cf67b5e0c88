"""Score-first test-time training: SGD on chunks that are already sealed (PR #549, #1413, #1493; record-stack 1.7)."""

import math

import torch

from golf.ground.runtime import Runtime
from golf.model.gpt import GPT
from golf.score.sealed import Sealed


class Learner:
    """Plain SGD with momentum over every weight; the rate falls as a cosine over the stream's chunks.

    plan: lr, momentum, epochs, clip, batch_tokens (``params.Ttt``). chunks: of the whole stream. The momentum persists.
    """

    def __init__(self, model: GPT, plan, here: Runtime, *, chunks: int):
        self.model, self.plan, self.here, self.chunks = model, plan, here, chunks
        self.parameters = list(model.parameters())
        self.optimiser = torch.optim.SGD(self.parameters, lr=plan.lr, momentum=plan.momentum)
        self.loss = here.compiled(self.summed_nll)

    def summed_nll(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.nll(x, y, looped=True).sum()

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
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.lr * cosine(sealed.index, self.chunks)
        for _ in range(self.plan.epochs):
            size = self.plan.batch_tokens // context
            for batch in zip(x.split(size), y.split(size), strict=True):
                self.step(*batch)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """One step on the mean over all ranks' rows; a rank without rows adds nothing."""
        self.optimiser.zero_grad(set_to_none=False)
        mine, targets = x[self.here.rank :: self.here.ranks], y[self.here.rank :: self.here.ranks]
        if len(mine):
            (self.loss(mine.contiguous(), targets.contiguous()) / y.numel()).backward()
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.here.sum_flat([parameter.grad for parameter in self.parameters])
        if self.plan.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        self.optimiser.step()


def cosine(index: int, chunks: int) -> float:
    """½ (1 + cos(π index / (chunks - 1))): 1 at the first chunk, 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * index / max(1, chunks - 1)))
