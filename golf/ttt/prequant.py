"""Pre-quantisation test-time training: epochs of AdamW over a whole stream, before anything of it is scored.

Disputed. On val the weights that score a token were fitted on that token (C1, C3): ruled out on PR #1376, and #1485 was
withdrawn for it. On dev, text held out from training text, nothing of val is touched. Record-stack 2.1, 2.2 and 5.3.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from golf.ground.errors import Diverged
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.ground.sections import Prequant
from golf.model.gpt import GPT
from golf.score.scorer import random_windows
from golf.ttt.score_first import clipped, cosine, flat_gradient, shaped

ORDER = "learned, then scored"
VERDICT = "invalid: C1 and C3, val text is learned from before it is scored (#1376, #1485, #1735)"


@dataclass(frozen=True)
class Adapted:
    """Nats a token that each epoch met while it learned, and the seconds of them all."""

    losses: list[float]
    seconds: float


def adapt(model: GPT, windows: torch.Tensor, wanted: Prequant, here: Runtime, *, name: str) -> Adapted:
    """Fit ``model`` in place to ``windows`` int64 [n, context + 1], the same on every rank; name: of the progress line.

    sequential (#1485): steps of ``batch_tokens`` in the stream's order, each on the gradient averaged over all ranks,
    so that any number of ranks makes the same steps. federated (#1735): rank r steps alone through chunks r, r + ranks,
    … of ``chunk_tokens``, one step a chunk, and after every epoch the weights, never the moments, are averaged. Each
    collective is joined by every rank, also by one that has no windows in it. The rate is one for a whole epoch and
    falls as a cosine from lr to floor x lr, which the last epoch has (CosineAnnealingLR(T_max=epochs) would have it one
    epoch later). Weights stay fp32, so a small rate does not round away. Raises Diverged, naming the epoch.
    """
    began = time.perf_counter()
    line = Progress(name, wanted.epochs, "epochs", quiet=not here.first)
    losses = []
    with unfrozen_after(model, wanted.freeze):
        learner = Learner(model, wanted, here)
        learner.warm_up(windows)
        average = learner.flat.clone()  # of the weights after each epoch (2.2)
        for epoch in range(wanted.epochs):
            rate = wanted.lr * (wanted.floor + (1 - wanted.floor) * cosine(epoch, wanted.epochs))
            nats = learner.epoch(windows, rate)
            losses.append(nats / windows[:, 1:].numel())
            if not math.isfinite(nats):
                raise Diverged(f"prequant: the loss is {nats} in epoch {epoch + 1}; lower prequant.lr")
            if wanted.ema is not None:
                average.lerp_(learner.flat, 1 - wanted.ema)
            line.update(epoch + 1, force=True, loss=f"{losses[-1]:.4f}", rate=f"{rate:.2g}")
        if wanted.ema is not None:
            learner.put(average)
    here.finish()
    return Adapted(losses, here.agree(time.perf_counter() - began))


class Learner:
    """AdamW over the weights that require a gradient: default betas, no decay, moments local to the rank.

    It steps on ``flat``, all these weights in one fp32 buffer, and puts what comes out back into the model: a step is
    few kernels however many tensors there are.
    """

    def __init__(self, model: GPT, wanted: Prequant, here: Runtime):
        self.model, self.wanted, self.here = model, wanted, here
        self.together = wanted.form == "sequential"
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.flat = torch.cat([weight.detach().flatten() for weight in self.weights])
        self.optimiser = torch.optim.AdamW([self.flat], lr=wanted.lr, weight_decay=0.0, fused=True)
        self.loss = here.compiled(self.summed_nll)

    def summed_nll(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.summed_nll(x, y, looped=True)

    def warm_up(self, windows: torch.Tensor) -> None:
        """Make a graph for each number of rows that a step of this rank has, where graphs are made, on random tokens.

        Nothing is left of it but the graphs.
        """
        for rows in {len(mine) for mine, _ in shares(windows, self.wanted, self.here)} - {0}:
            if self.here.compile:
                flat_gradient(self.loss(*random_windows(self.model.shape, rows, self.here)), self.weights)

    def put(self, flat: torch.Tensor) -> None:
        """Weights from one buffer into the model."""
        with torch.no_grad():
            torch._foreach_copy_(self.weights, shaped(flat, self.weights))

    def epoch(self, windows: torch.Tensor, rate: float) -> float:
        """One pass over all windows; the nats met on it, over all ranks."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        nats = torch.zeros((), dtype=torch.float64, device=self.here.device)
        for mine, rows in shares(windows, self.wanted, self.here):
            nats += self.step(mine.to(self.here.device), rows)
        if not self.together:
            self.put(self.here.sum(self.flat).div_(self.here.ranks))
        return self.here.sum(nats).item()

    def step(self, mine: torch.Tensor, rows: int) -> torch.Tensor:
        """A step on the mean over a batch of ``rows`` windows, of which ``mine`` are this rank's; the nats of these."""
        nats, gradient = torch.zeros((), device=self.here.device), torch.zeros_like(self.flat)
        if len(mine):
            x, y = mine[:, :-1].contiguous(), mine[:, 1:].contiguous()
            nats = self.loss(x, y)
            gradient = flat_gradient(nats / (rows * x.shape[1]), self.weights)
        if self.together:
            self.here.sum(gradient)
        self.flat.grad = clipped(gradient, self.wanted.clip)
        self.optimiser.step()
        self.put(self.flat)
        return nats.detach()


def shares(windows: torch.Tensor, wanted: Prequant, here: Runtime) -> list[tuple[torch.Tensor, int]]:
    """This rank's steps in an epoch: its own windows, perhaps none, and how many windows the whole step has."""
    context = windows.shape[1] - 1
    if wanted.form == "sequential":
        batches = windows.split(wanted.batch_tokens // context)
        return [(batch[here.rank :: here.ranks], len(batch)) for batch in batches]
    chunks = windows.split(wanted.chunk_tokens // context)
    return [(chunk, len(chunk)) for chunk in chunks[here.rank :: here.ranks]]


@contextlib.contextmanager
def unfrozen_after(model: GPT, blocks: int) -> Iterator[None]:
    """The first ``blocks`` blocks don't learn inside; afterwards every weight may."""
    for block in model.blocks[:blocks]:
        block.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


def beside(stream: str) -> dict[str, str]:
    """What stands beside every number scored on ``stream`` after this: the order, and on val the verdict."""
    return {"order": ORDER} | ({"verdict": VERDICT} if stream == "val" else {})


def title(stream: str) -> str:
    """The name of the progress lines from here on: a number on val is printed beside the word alone."""
    return "ttt invalid" if stream == "val" else "ttt"


def figures(stream: str, wanted: Prequant, adapted: Adapted, before: float, after: float) -> dict:
    """The metrics: bpb of the stream before and after, behind what must be said of them."""
    return beside(stream) | {
        "form": wanted.form,
        "bpb_before": before,
        "bpb_after": after,
        "gain": before - after,
        "epochs": len(adapted.losses),
        "seconds": round(adapted.seconds, 3),
    }
