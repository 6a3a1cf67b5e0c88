"""The training loop: rates by progress, recurrence by progress, averages and checkpoints on the way."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from golf.config.model import ModelConfig
from golf.config.sections import TrainConfig
from golf.distributed.context import DistContext
from golf.errors import DivergenceError
from golf.model.attention import MIN_MEAN_DOCUMENT_TOKENS
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.pipeline.signals import DeferSignals
from golf.training import schedule
from golf.training.ema import EMATracker
from golf.training.optimizer import MuonAdamW
from golf.training.resume import ResumableRun
from golf.training.step import compile_warmup, make_loss_fn, train_step
from golf.training.time_budget import TrainingBudget


@dataclass
class TrainResult:
    """What a run leaves besides the weights in the model."""

    ema: EMATracker
    log: list[dict] = field(default_factory=list)  # one row a logged step
    dev_log: list[dict] = field(default_factory=list)  # step, seconds, dev_loss
    steps: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0  # compilation and what it ran, before the clock
    recurrent_from: int | None = None  # first step with recurrence

    def metrics(self, cfg: TrainConfig) -> dict:
        """The run in numbers."""
        return {
            "steps": self.steps,
            "tokens": self.steps * cfg.batch_tokens,
            "looped_from_step": self.recurrent_from,
            "loss": self.log[-1]["loss"] if self.log else None,
            "dev_loss": self.dev_log[-1]["dev_loss"],
            "seconds": round(self.seconds, 3),
            "warmup_seconds": round(self.warmup_seconds, 3),
            "tokens_per_second": round(self.steps * cfg.batch_tokens / self.seconds, 1),
        }


def train(
    model: GPT,
    batches: Iterator,
    cfg: TrainConfig,
    ctx: DistContext,
    *,
    dev_windows: torch.Tensor,
    save_checkpoint: Callable[[int, bool], None],
    resumable_run: ResumableRun | None = None,
) -> TrainResult:
    """Train ``model`` in place until the clock or the steps run out, from where ``state`` has got to.

    batches: (x, y) int64 [rows of this rank, context]. dev: int64 [rows, context + 1], whose loss is watched.
    save(step, looped): called on rank 0 every ``checkpoint_every`` steps. state: keeps the run on the way, and when a
    signal asks for its end, which then comes after the step; ``batches`` must be a Loader at its position.
    Raises Diverged when the loss is not finite, or the gradient of a logged step is zero.
    """
    loss_fn = ctx.maybe_compile(make_loss_fn(model, ctx))
    started_at = time.perf_counter()
    compile_warmup(model, loss_fn, cfg, ctx)
    ctx.synchronize()
    warmup_s = time.perf_counter() - started_at
    optimizer = MuonAdamW(model, cfg, ctx)
    ema = EMATracker(
        dict(model.named_parameters()),
        cfg.ema_decays,
        cfg.ema_basis_decays,
        cfg.ema_snapshots if ctx.is_main else 0,  # rank 0 saves them
        cfg.ema_snapshot_every,
    )
    result = TrainResult(ema, warmup_seconds=warmup_s)
    if resumable_run is not None:
        resumable_run.attach(model, optimizer, result, batches)
    budget = _make_budget(cfg, resumable_run)
    progress_line = Progress("train", cfg.steps, "steps", limit_s=budget.limit_s, quiet=not ctx.is_main)
    progress_line.started_at -= budget.used_before_s
    step = resumable_run.step if resumable_run is not None else 0
    budget.start()
    if resumable_run is not None:
        resumable_run.start_heartbeat(budget.elapsed_s)
    with DeferSignals() as deferred:
        while True:
            seconds = ctx.all_reduce_max(math.inf if deferred.pending else budget.elapsed_s())
            progress = budget.progress(step, seconds)
            if progress >= 1 or seconds == math.inf:
                break
            recurrent = schedule.is_recurrence_active(progress, cfg.recurrence_from, model.cfg.recur_passes)
            lr_multiplier = schedule.lr_multiplier(
                progress, warmdown_frac=cfg.warmdown_frac, min_lr_frac=cfg.min_lr_frac
            )
            batch_loss, grad_norm = train_step(
                model, loss_fn, next(batches), optimizer, step, lr_multiplier, recurrent, ctx
            )
            ema.update()
            step += 1
            if recurrent and result.recurrent_from is None:
                result.recurrent_from = step
            if step % cfg.log_every == 0 or step == 1:
                result.log.append(
                    _make_log_row(step, seconds, batch_loss, grad_norm, lr_multiplier, recurrent, cfg, model.cfg)
                )
                speed = f"{step * cfg.batch_tokens / budget.elapsed_s():,.0f} tok/s"
                progress_line.update(step, fraction=progress, loss=f"{batch_loss.item():.4f}", at=speed)
            if cfg.dev_every and step % cfg.dev_every == 0:
                result.dev_log.append(_evaluate_dev(model, dev_windows, step, seconds, recurrent, ctx))
            if cfg.checkpoint_every and step % cfg.checkpoint_every == 0 and ctx.is_main:
                save_checkpoint(step, recurrent)
            if resumable_run is not None and resumable_run.should_save(seconds):
                resumable_run.save_async(step, seconds)
        ctx.synchronize()
        result.steps, result.seconds = step, ctx.all_reduce_max(budget.elapsed_s())
        if resumable_run is not None:
            resumable_run.stop_heartbeat()
            resumable_run.save_async(step, result.seconds, wait=True)
        signal_number = int(ctx.all_reduce_max(deferred.pending or 0))
    if signal_number:
        progress_line.finish(
            f"stopped after {step:,} steps and {result.seconds:.1f} s; the same command goes on from there"
        )
        signal.raise_signal(signal_number)
    recurrent = model.cfg.recur_passes > 1  # what follows always runs with recurrence
    result.dev_log.append(_evaluate_dev(model, dev_windows, step, result.seconds, recurrent, ctx))
    ema.take_snapshot()
    ctx.synchronize()
    progress_line.finish(f"{step:,} steps in {result.seconds:.1f} s, dev loss {result.dev_log[-1]['dev_loss']:.4f}")
    if recurrent and result.recurrent_from is None:
        progress_line.finish(
            f"no step ran with recurrence: none came after train.recurrence_from = {cfg.recurrence_from:g} of the budget; what "
            f"follows runs with it, so give more steps or seconds"
        )
    return result


def _make_budget(cfg: TrainConfig, resumable_run: ResumableRun | None) -> TrainingBudget:
    """The clock of a run: what calibration is to have is taken off, and what the run used before is on it."""
    limit_s = None if cfg.limit_s is None else cfg.limit_s - cfg.reserve_s
    return TrainingBudget(limit_s, cfg.steps, resumable_run.used_s if resumable_run is not None else 0.0)


def _make_log_row(
    step, seconds, batch_loss, grad_norm, lr_multiplier, recurrent, cfg: TrainConfig, model_cfg: ModelConfig
) -> dict:
    loss_value = batch_loss.item()
    if not math.isfinite(loss_value):
        hint = f", or documents have fewer than {MIN_MEAN_DOCUMENT_TOKENS} tokens on average: set model.doc_mask_bos_id to null"
        raise DivergenceError(
            f"training: the loss is {loss_value} at step {step}; lower train.muon_lr, train.embed_lr or train.scalar_lr, "
            f"or clip harder with train.grad_clip{hint if model_cfg.doc_mask_bos_id is not None else ''}"
        )
    if not grad_norm.item():
        raise DivergenceError(
            f"training: the gradient of step {step} is zero, so nothing would be learned; where train.compile: off "
            f"mends it, this release of torch compiles the model wrongly"
        )
    return {
        "step": step,
        "seconds": round(seconds, 3),
        "loss": round(loss_value, 6),
        "gradient_norm": round(grad_norm.item(), 6),
        "rate": round(lr_multiplier, 6),
        "looped": int(recurrent),
        "tokens": step * cfg.batch_tokens,
    }


@torch.no_grad()
def _evaluate_dev(
    model: GPT, dev_windows: torch.Tensor, step: int, seconds: float, recurrent: bool, ctx: DistContext
) -> dict:
    """The model's own loss on dev, rows shared out over ranks, in this state of recurrence."""
    total = torch.zeros(2, dtype=torch.float64, device=ctx.device)
    local_windows = dev_windows[ctx.rank :: ctx.world_size]
    for windows in local_windows.split(16) if len(local_windows) else ():
        tokens = windows.to(ctx.device)
        with ctx.autocast():
            nll = model.nll(tokens[:, :-1], tokens[:, 1:], recurrent=recurrent)
        total += torch.tensor([nll.double().sum().item(), nll.numel()], dtype=torch.float64, device=ctx.device)
    nats, n_tokens = ctx.all_reduce(total).tolist()
    if not math.isfinite(nats):
        raise DivergenceError(f"training: the dev loss is not finite at step {step}; lower the rates in train.*_lr")
    return {"step": step, "seconds": round(seconds, 3), "dev_loss": round(nats / n_tokens, 6)}
