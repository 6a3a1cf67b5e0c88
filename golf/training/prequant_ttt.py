"""Pre-quantization test-time training: epochs of AdamW over a whole stream before any of it is scored.

On val it is invalid: the weights that score a token were fitted on that token (C1, C3). It was ruled out on PR #1376,
and PR #1485 was withdrawn for it. On dev, which is held out from training, it does not read val. See
docs/references.md#prequant-ttt.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from golf.config.sections import PrequantTTTConfig
from golf.distributed.context import DistContext
from golf.errors import DivergenceError
from golf.inference.score_first_sgd import clip_norm_, compute_flat_gradient, cosine_decay, unflatten_like
from golf.inference.scorer import random_windows
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress, log_compiling

__all__ = [
    "INVALID_ON_VAL_NOTE",
    "PrequantResult",
    "PrequantTrainer",
    "finetune_on_stream",
    "get_rank_batches",
    "make_annotations",
    "make_metrics",
    "make_progress_name",
]

_ADAPTED = "before scoring"
INVALID_ON_VAL_NOTE = "invalid: C1 and C3, the model trains on val text before scoring it (#1376, #1485, #1735)"


@dataclass(frozen=True)
class PrequantResult:
    """The mean nats per token in each epoch, measured while training; the seconds of all epochs; those of compiling."""

    losses: list[float]
    seconds: float
    warmup_s: float  # before the clock of the epochs starts, as in training


def finetune_on_stream(
    model: GPT, windows: torch.Tensor, cfg: PrequantTTTConfig, ctx: DistContext, *, progress_name: str
) -> PrequantResult:
    """Train ``model`` in place on ``windows``, int64 [n, context_length + 1], the same on every rank.

    ``sync: sequential`` (PR #1485): steps of ``batch_tokens`` in the stream's order, each on the gradient averaged over
    all ranks, so any number of ranks makes the same steps. ``sync: federated`` (PR #1735): rank r steps alone through
    chunks r, r + world_size, … of ``chunk_tokens``, one step a chunk; after every epoch the weights are averaged over
    ranks, but not the moments. Every rank joins every collective, even without windows of its own.

    With ``lr_schedule: epoch`` the learning rate is constant within an epoch and falls as a cosine from lr to
    min_lr_frac · lr in the last epoch; CosineAnnealingLR(T_max=epochs) would reach that one epoch later. With ``chunk``
    it falls so over the steps of a rank within each epoch. Weights stay fp32, so that small updates don't round away.
    ``progress_name`` labels the progress line. Raises DivergenceError naming the epoch.
    """
    losses = []
    with _freeze_blocks(model, cfg.freeze_blocks):
        trainer = PrequantTrainer(model, cfg, ctx)
        warmup_started_at = time.perf_counter()
        if ctx.compile:
            log_compiling(progress_name, ctx, ", not counted as training time")
            trainer.warm_up(windows)
        ctx.synchronize()
        warmup_s = ctx.all_reduce_max(time.perf_counter() - warmup_started_at)
        started_at = time.perf_counter()
        progress = Progress(progress_name, cfg.epochs, "epochs", quiet=not ctx.is_main)
        ema_weights = (
            trainer.flat_weights.clone()
        )  # average of the weights after each epoch (docs/references.md#prequant-ttt)
        for epoch in range(cfg.epochs):
            lr = cfg.lr if cfg.lr_schedule == "chunk" else _anneal(cfg, cfg.lr, epoch, cfg.epochs)
            nats = trainer.train_epoch(windows, lr)
            losses.append(nats / windows[:, 1:].numel())
            if not math.isfinite(nats):
                raise DivergenceError(f"prequant: the loss is {nats} in epoch {epoch + 1}; lower prequant.lr")
            if cfg.ema_decay is not None:
                ema_weights.lerp_(trainer.flat_weights, 1 - cfg.ema_decay)
            progress.update(epoch + 1, force=True, loss=f"{losses[-1]:.4f}", lr=f"{lr:.2g}")
        if cfg.ema_decay is not None:
            trainer.write_back(ema_weights)
    ctx.synchronize()
    return PrequantResult(losses, ctx.all_reduce_max(time.perf_counter() - started_at), warmup_s)


class PrequantTrainer:
    """AdamW over the weights that require a gradient: default betas, moments local to the rank.

    It steps on ``flat_weights``, one fp32 buffer of all these weights, and copies the result back into the model, so a
    step takes few kernels however many tensors there are.
    """

    def __init__(self, model: GPT, cfg: PrequantTTTConfig, ctx: DistContext) -> None:
        self._model, self._cfg, self._ctx = model, cfg, ctx
        self._sync_per_step = cfg.sync == "sequential"
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.flat_weights = torch.cat([weight.detach().flatten() for weight in self._weights])
        self._optimizer = torch.optim.AdamW([self.flat_weights], lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)
        self._loss_fn = ctx.maybe_compile(self._nll_sum)

    def _nll_sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self._ctx.autocast():
            return self._model.nll_sum(x, y, recurrent=True)

    def warm_up(self, windows: torch.Tensor) -> None:
        """Compile a graph for each number of rows in this rank's steps, on random tokens.

        Weights and optimizer stay as they are.
        """
        for rows in {len(local_windows) for local_windows, _ in get_rank_batches(windows, self._cfg, self._ctx)} - {0}:
            compute_flat_gradient(self._loss_fn(*random_windows(self._model.cfg, rows, self._ctx)), self._weights)

    def write_back(self, flat_weights: torch.Tensor) -> None:
        """Copy weights from one flat buffer into the model."""
        with torch.no_grad():
            torch._foreach_copy_(self._weights, unflatten_like(flat_weights, self._weights))

    def train_epoch(self, windows: torch.Tensor, lr: float) -> float:
        """Make one pass over all windows, from the rate ``lr`` on; return the sum of nats over all ranks."""
        nats = torch.zeros((), dtype=torch.float64, device=self._ctx.device)
        batches = get_rank_batches(windows, self._cfg, self._ctx)
        for step, (local_windows, batch_rows) in enumerate(batches):
            for group in self._optimizer.param_groups:
                is_annealed = self._cfg.lr_schedule == "chunk"
                group["lr"] = _anneal(self._cfg, lr, step, len(batches)) if is_annealed else lr
            nats += self._step(local_windows.to(self._ctx.device), batch_rows)
        if not self._sync_per_step:
            self.write_back(self._ctx.all_reduce(self.flat_weights).div_(self._ctx.world_size))
        return self._ctx.all_reduce(nats).item()

    def _step(self, local_windows: torch.Tensor, batch_rows: int) -> torch.Tensor:
        """Step on the mean loss of ``batch_rows`` windows; return the nats of ``local_windows``, this rank's share."""
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
    """Return this rank's steps of an epoch: its own windows, possibly none, and the window count of the whole step."""
    context_length = windows.shape[1] - 1
    if cfg.sync == "sequential":
        batches = windows.split(cfg.batch_tokens // context_length)
        return [(batch[ctx.rank :: ctx.world_size], len(batch)) for batch in batches]
    chunks = windows.split(cfg.chunk_tokens // context_length)
    return [(chunk, len(chunk)) for chunk in chunks[ctx.rank :: ctx.world_size]]


def _anneal(cfg: PrequantTTTConfig, lr: float, index: int, n_steps: int) -> float:
    """Return the rate at ``index``: a cosine from ``lr`` to min_lr_frac times that at the last step."""
    return lr * (cfg.min_lr_frac + (1 - cfg.min_lr_frac) * cosine_decay(index, n_steps))


@contextlib.contextmanager
def _freeze_blocks(model: GPT, n_blocks: int) -> Iterator[None]:
    """Freeze the first ``n_blocks`` blocks in this context; afterwards every weight is trainable."""
    for block in model.blocks[:n_blocks]:
        block.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


def make_annotations(stream: str) -> dict[str, str]:
    """Return what must accompany every number scored on ``stream`` afterwards: when it adapted; the verdict on val."""
    return {"adapted": _ADAPTED} | ({"verdict": INVALID_ON_VAL_NOTE} if stream == "val" else {})


def make_progress_name(stream: str) -> str:
    """Return the label of later progress lines; a number on val is printed only beside the word invalid."""
    return "ttt invalid" if stream == "val" else "ttt"


def make_metrics(
    stream: str, cfg: PrequantTTTConfig, result: PrequantResult, bpb_before: float, bpb_after: float
) -> dict[str, Any]:
    """Return the metrics: the annotations first, then the stream's bpb before and after."""
    return make_annotations(stream) | {
        "sync": cfg.sync,
        "bpb_before": bpb_before,
        "bpb_after": bpb_after,
        "gain": bpb_before - bpb_after,
        "epochs": len(result.losses),
        "seconds": round(result.seconds, 3),
        "warmup_seconds": round(result.warmup_s, 3),
    }
