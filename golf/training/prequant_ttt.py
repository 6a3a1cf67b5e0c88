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

from golf.config.sections import PrequantTTTConfig
from golf.distributed.context import DistContext
from golf.errors import DivergenceError
from golf.inference.score_first_sgd import clip_norm_, compute_flat_gradient, cosine_decay, unflatten_like
from golf.inference.scorer import random_windows
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress

_ORDER = "learned, then scored"
VERDICT = "invalid: C1 and C3, val text is learned from before it is scored (#1376, #1485, #1735)"


@dataclass(frozen=True)
class PrequantResult:
    """Nats a token that each epoch met while it learned, and the seconds of them all."""

    losses: list[float]
    seconds: float


def finetune_on_stream(
    model: GPT, windows: torch.Tensor, cfg: PrequantTTTConfig, ctx: DistContext, *, progress_name: str
) -> PrequantResult:
    """Fit ``model`` in place to ``windows`` int64 [n, context + 1], the same on every rank; name: of the progress line.

    sequential (#1485): steps of ``batch_tokens`` in the stream's order, each on the gradient averaged over all ranks,
    so that any number of ranks makes the same steps. federated (#1735): rank r steps alone through chunks r, r + ranks,
    … of ``chunk_tokens``, one step a chunk, and after every epoch the weights, never the moments, are averaged. Each
    collective is joined by every rank, also by one that has no windows in it. The rate is one for a whole epoch and
    falls as a cosine from lr to floor x lr, which the last epoch has (CosineAnnealingLR(T_max=epochs) would have it one
    epoch later). Weights stay fp32, so a small rate does not round away. Raises Diverged, naming the epoch.
    """
    started_at = time.perf_counter()
    progress = Progress(progress_name, cfg.epochs, "epochs", quiet=not ctx.is_main)
    losses = []
    with _freeze_blocks(model, cfg.freeze_blocks):
        trainer = PrequantTrainer(model, cfg, ctx)
        trainer.warm_up(windows)
        ema_weights = trainer.flat_weights.clone()  # of the weights after each epoch (2.2)
        for epoch in range(cfg.epochs):
            lr = cfg.lr * (cfg.min_lr_frac + (1 - cfg.min_lr_frac) * cosine_decay(epoch, cfg.epochs))
            nats = trainer.train_epoch(windows, lr)
            losses.append(nats / windows[:, 1:].numel())
            if not math.isfinite(nats):
                raise DivergenceError(f"prequant: the loss is {nats} in epoch {epoch + 1}; lower prequant.lr")
            if cfg.ema is not None:
                ema_weights.lerp_(trainer.flat_weights, 1 - cfg.ema)
            progress.update(epoch + 1, force=True, loss=f"{losses[-1]:.4f}", lr=f"{lr:.2g}")
        if cfg.ema is not None:
            trainer.write_back(ema_weights)
    ctx.synchronize()
    return PrequantResult(losses, ctx.all_reduce_max(time.perf_counter() - started_at))


class PrequantTrainer:
    """AdamW over the weights that require a gradient: default betas, no decay, moments local to the rank.

    It steps on ``flat``, all these weights in one fp32 buffer, and puts what comes out back into the model: a step is
    few kernels however many tensors there are.
    """

    def __init__(self, model: GPT, cfg: PrequantTTTConfig, ctx: DistContext):
        self._model, self._cfg, self._ctx = model, cfg, ctx
        self._sync_per_step = cfg.sync == "sequential"
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.flat_weights = torch.cat([weight.detach().flatten() for weight in self._weights])
        self._optimizer = torch.optim.AdamW([self.flat_weights], lr=cfg.lr, weight_decay=0.0, fused=True)
        self._loss_fn = ctx.maybe_compile(self._nll_sum)

    def _nll_sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self._ctx.autocast():
            return self._model.nll_sum(x, y, recurrent=True)

    def warm_up(self, windows: torch.Tensor) -> None:
        """Make a graph for each number of rows that a step of this rank has, where graphs are made, on random tokens.

        Nothing is left of it but the graphs.
        """
        for rows in {len(local_windows) for local_windows, _ in get_rank_batches(windows, self._cfg, self._ctx)} - {0}:
            if self._ctx.compile:
                compute_flat_gradient(self._loss_fn(*random_windows(self._model.cfg, rows, self._ctx)), self._weights)

    def write_back(self, flat_weights: torch.Tensor) -> None:
        """Weights from one buffer into the model."""
        with torch.no_grad():
            torch._foreach_copy_(self._weights, unflatten_like(flat_weights, self._weights))

    def train_epoch(self, windows: torch.Tensor, lr: float) -> float:
        """One pass over all windows; the nats met on it, over all ranks."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        nats = torch.zeros((), dtype=torch.float64, device=self._ctx.device)
        for local_windows, batch_rows in get_rank_batches(windows, self._cfg, self._ctx):
            nats += self._step(local_windows.to(self._ctx.device), batch_rows)
        if not self._sync_per_step:
            self.write_back(self._ctx.all_reduce(self.flat_weights).div_(self._ctx.world_size))
        return self._ctx.all_reduce(nats).item()

    def _step(self, local_windows: torch.Tensor, batch_rows: int) -> torch.Tensor:
        """A step on the mean over a batch of ``rows`` windows, of which ``mine`` are this rank's; the nats of these."""
        nats, gradient = torch.zeros((), device=self._ctx.device), torch.zeros_like(self.flat_weights)
        if len(local_windows):
            x, y = local_windows[:, :-1].contiguous(), local_windows[:, 1:].contiguous()
            nats = self._loss_fn(x, y)
            gradient = compute_flat_gradient(nats / (batch_rows * x.shape[1]), self._weights)
        if self._sync_per_step:
            self._ctx.all_reduce(gradient)
        self.flat_weights.grad = clip_norm_(gradient, self._cfg.grad_clip)
        self._optimizer.step()
        self.write_back(self.flat_weights)
        return nats.detach()


def get_rank_batches(windows: torch.Tensor, cfg: PrequantTTTConfig, ctx: DistContext) -> list[tuple[torch.Tensor, int]]:
    """This rank's steps in an epoch: its own windows, perhaps none, and how many windows the whole step has."""
    context_length = windows.shape[1] - 1
    if cfg.sync == "sequential":
        batches = windows.split(cfg.batch_tokens // context_length)
        return [(batch[ctx.rank :: ctx.world_size], len(batch)) for batch in batches]
    chunks = windows.split(cfg.chunk_tokens // context_length)
    return [(chunk, len(chunk)) for chunk in chunks[ctx.rank :: ctx.world_size]]


@contextlib.contextmanager
def _freeze_blocks(model: GPT, n_blocks: int) -> Iterator[None]:
    """The first ``blocks`` blocks don't learn inside; afterwards every weight may."""
    for block in model.blocks[:n_blocks]:
        block.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


def make_annotations(stream: str) -> dict[str, str]:
    """What stands beside every number scored on ``stream`` after this: the order, and on val the verdict."""
    return {"order": _ORDER} | ({"verdict": VERDICT} if stream == "val" else {})


def make_progress_name(stream: str) -> str:
    """The name of the progress lines from here on: a number on val is printed beside the word alone."""
    return "ttt invalid" if stream == "val" else "ttt"


def make_metrics(
    stream: str, cfg: PrequantTTTConfig, result: PrequantResult, bpb_before: float, bpb_after: float
) -> dict:
    """The metrics: bpb of the stream before and after, behind what must be said of them."""
    return make_annotations(stream) | {
        "form": cfg.sync,
        "bpb_before": bpb_before,
        "bpb_after": bpb_after,
        "gain": bpb_before - bpb_after,
        "epochs": len(result.losses),
        "seconds": round(result.seconds, 3),
    }
