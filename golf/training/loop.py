"""The training loop: optimizer steps until the budget is used, with EMA, logs, checkpoints and resumable state."""

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from golf.config.model import ModelConfig
from golf.config.training import TrainConfig
from golf.data.loader import TokenLoader
from golf.distributed.context import DistContext
from golf.errors import DivergenceError
from golf.model.attention import MIN_MEAN_DOCUMENT_TOKENS
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress, format_count
from golf.pipeline.signals import DeferSignals
from golf.training import schedule
from golf.training.ema import EMATracker
from golf.training.norm_dropout import norm_dropout
from golf.training.optimizer import MuonAdamW
from golf.training.result import TrainResult
from golf.training.resume import ResumableRun
from golf.training.step import compile_warmup, make_loss_fn, train_step
from golf.training.time_budget import TrainingBudget

__all__ = ["train"]


def train(
    model: GPT,
    batches: TokenLoader,
    cfg: TrainConfig,
    ctx: DistContext,
    *,
    dev_windows: torch.Tensor,
    save_checkpoint: Callable[[int, bool], None],
    run: ResumableRun | None = None,
) -> TrainResult:
    """Train ``model`` in place until the seconds or the steps of ``cfg`` are used up.

    ``batches`` yields (x, y), int64 [rows of this rank, context_length] each; ``train.context_schedule`` changes its
    context length, and the lengths that it needs are compiled before the clock starts. ``dev_windows`` is int64
    [rows, context_length + 1]; its loss is logged. ``save_checkpoint(step, recurrent)`` is called on rank 0 every
    ``checkpoint_every`` steps. With ``run``, training continues from its saved state and saves its own on the way; a
    termination signal then takes effect after the current step, with the state saved.
    Raises DivergenceError when the loss is not finite, or the gradient of a logged step is zero.
    """
    with norm_dropout(model, cfg.norm_dropout_frac):
        return _train(model, batches, cfg, ctx, dev_windows, save_checkpoint, run)


def _train(
    model: GPT,
    batches: TokenLoader,
    cfg: TrainConfig,
    ctx: DistContext,
    dev_windows: torch.Tensor,
    save_checkpoint: Callable[[int, bool], None],
    run: ResumableRun | None,
) -> TrainResult:
    loss_fn = ctx.maybe_compile(make_loss_fn(model, ctx))
    for tokens, _ in cfg.context_schedule or ():
        batches.require_batch(int(tokens))
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
    result = TrainResult(ema, warmup_s=warmup_s)
    writer = None if run is None else run.restore(model, optimizer, result, batches)
    step, used_before_s = (0, 0.0) if run is None else (run.step, run.used_s)
    if result.context_tokens is not None:
        batches.set_context_length(result.context_tokens)
    limit_s = None if cfg.limit_s is None else cfg.limit_s - cfg.reserve_s  # calibration gets the rest
    budget = TrainingBudget(limit_s, cfg.steps, used_before_s)
    progress_line = Progress(
        "train",
        cfg.steps,
        "steps",
        limit_s=limit_s,
        clock=budget.elapsed_s,
        fraction_before=budget.progress(step, used_before_s),
        quiet=not ctx.is_main,
    )
    with writer or contextlib.nullcontext(), DeferSignals() as deferred:
        budget.start()
        if writer is not None:
            writer.start(budget.elapsed_s)
        while True:
            seconds = ctx.all_reduce_max(math.inf if deferred.pending else budget.elapsed_s())
            progress = budget.progress(step, seconds)
            if progress >= 1 or seconds == math.inf:
                break
            recurrent = schedule.is_recurrence_active(progress, cfg.recurrence_from, model.cfg.recur_passes)
            _follow_context_schedule(batches, result, cfg, step, progress)
            lr_multiplier = schedule.compute_lr_multiplier(
                progress, warmdown_frac=cfg.warmdown_frac, min_lr_frac=cfg.min_lr_frac
            ) * schedule.compute_warmup_multiplier(step, result.context_switched_at, cfg.context_warmup_steps)
            decay_multiplier = schedule.compute_decay_multiplier(progress, cfg.decay_schedule)
            batch_loss, grad_norm = train_step(
                model, loss_fn, next(batches), optimizer, step, lr_multiplier, recurrent, ctx, decay_multiplier
            )
            ema.update()
            step += 1
            if recurrent and result.recurrent_from is None:
                result.recurrent_from = step
            if step % cfg.log_every == 0 or step == 1:
                result.log.append(
                    _make_log_row(step, seconds, batch_loss, grad_norm, lr_multiplier, recurrent, cfg, model.cfg)
                )
                used_s = budget.elapsed_s()
                speed = f"{step * cfg.batch_tokens / used_s:,.0f} tok/s"
                fraction = budget.progress(step, used_s)  # with this step, unlike progress
                progress_line.update(step, fraction=fraction, loss=f"{batch_loss.item():.4f}", at=speed)
            if cfg.dev_every and step % cfg.dev_every == 0:
                result.dev_log.append(_evaluate_dev(model, dev_windows, step, seconds, recurrent, ctx))
            if cfg.checkpoint_every and step % cfg.checkpoint_every == 0 and ctx.is_main:
                save_checkpoint(step, recurrent)
            if writer is not None and writer.should_save(seconds):
                writer.save(step, seconds)
        ctx.synchronize()
        result.steps, result.seconds = step, ctx.all_reduce_max(budget.elapsed_s())
        if writer is not None:
            writer.stop(step, result.seconds)
        signal_number = int(ctx.all_reduce_max(deferred.pending or 0))
    if signal_number:
        note = "nothing is saved" if writer is None else "run the same command again to continue"
        progress_line.finish(f"stopped after {format_count(step, 'step')} and {result.seconds:.1f} s; {note}")
        signal.raise_signal(signal_number)
    recurrent = model.cfg.recur_passes > 1  # all later stages run with recurrence
    result.dev_log.append(_evaluate_dev(model, dev_windows, step, result.seconds, recurrent, ctx))
    ema.take_snapshot()
    ctx.synchronize()
    progress_line.finish(
        f"{format_count(step, 'step')} in {result.seconds:.1f} s, dev loss {result.dev_log[-1]['dev_loss']:.4f}"
    )
    if recurrent and result.recurrent_from is None:
        progress_line.finish(
            f"no step ran with recurrence, because none came after train.recurrence_from = {cfg.recurrence_from:g} of "
            f"the budget, but later stages run with it; raise train.steps or train.limit_s"
        )
    return result


def _follow_context_schedule(
    batches: TokenLoader, result: TrainResult, cfg: TrainConfig, step: int, progress: float
) -> None:
    """Give the batches the context length of this progress. ``step``: the number of steps made."""
    if cfg.context_schedule is None:
        return
    tokens = schedule.choose_context(progress, cfg.context_schedule)
    if tokens != result.context_tokens:
        batches.set_context_length(tokens)
        result.context_switched_at = None if result.context_tokens is None else step
        result.context_tokens = tokens


def _make_log_row(
    step: int,
    seconds: float,
    batch_loss: torch.Tensor,
    grad_norm: torch.Tensor,
    lr_multiplier: float,
    recurrent: bool,
    cfg: TrainConfig,
    model_cfg: ModelConfig,
) -> dict[str, Any]:
    """Return a row of log.csv. Raises DivergenceError when the loss is not finite or the gradient is zero."""
    loss_value = batch_loss.item()
    if not math.isfinite(loss_value):
        hint = (
            f", or, if documents have fewer than {MIN_MEAN_DOCUMENT_TOKENS} tokens on average, set "
            f"model.doc_mask_bos_id to null"
        )
        raise DivergenceError(
            f"training: the loss is {loss_value} at step {step}; lower train.muon_lr, train.embed_lr or "
            f"train.scalar_lr, or lower train.grad_clip{hint if model_cfg.doc_mask_bos_id is not None else ''}"
        )
    if not grad_norm.item():
        raise DivergenceError(
            f"training: the gradient of step {step} is zero, so the model does not learn; if train.compile: off fixes "
            f"it, this release of torch compiles the model wrongly"
        )
    return {
        "step": step,
        "seconds": round(seconds, 3),
        "loss": round(loss_value, 6),
        "grad_norm": round(grad_norm.item(), 6),
        "lr_multiplier": round(lr_multiplier, 6),
        "recurrent": int(recurrent),
        "tokens": step * cfg.batch_tokens,
    }


@torch.no_grad()
def _evaluate_dev(
    model: GPT, dev_windows: torch.Tensor, step: int, seconds: float, recurrent: bool, ctx: DistContext
) -> dict[str, Any]:
    """Return a row of dev.csv: the mean loss on dev, whose rows are divided among the ranks."""
    total = torch.zeros(2, dtype=torch.float64, device=ctx.device)
    local_windows = dev_windows[ctx.rank :: ctx.world_size]
    for windows in local_windows.split(16) if len(local_windows) else ():
        tokens = windows.to(ctx.device)
        with ctx.autocast():
            nll = model.nll(tokens[:, :-1], tokens[:, 1:], recurrent=recurrent)
        total += torch.tensor([nll.double().sum().item(), nll.numel()], dtype=torch.float64, device=ctx.device)
    nats, n_tokens = ctx.all_reduce(total).tolist()
    if not math.isfinite(nats):
        raise DivergenceError(f"training: the dev loss is not finite at step {step}; lower the rates train.*_lr")
    return {"step": step, "seconds": round(seconds, 3), "dev_loss": round(nats / n_tokens, 6)}
