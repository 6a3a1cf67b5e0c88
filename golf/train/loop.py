"""The training loop: rates by progress, recurrence by progress, averages and checkpoints on the way."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from golf.ground.errors import Diverged
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.ground.sections import Train
from golf.ground.shape import Shape
from golf.ground.signals import Postponed
from golf.model.attention import SHORTEST
from golf.model.gpt import GPT
from golf.train import schedule
from golf.train.clock import Clock
from golf.train.ema import Averages
from golf.train.optimizer import Optimisers
from golf.train.state import Run
from golf.train.step import loss_function, one_step, warm_up


@dataclass
class Outcome:
    """What a run leaves besides the weights in the model."""

    averages: Averages
    log: list[dict] = field(default_factory=list)  # one row a logged step
    dev: list[dict] = field(default_factory=list)  # step, seconds, dev_loss
    steps: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0  # compilation and what it ran, before the clock
    looped_from: int | None = None  # first step with recurrence

    def figures(self, wanted: Train) -> dict:
        """The run in numbers."""
        return {
            "steps": self.steps,
            "tokens": self.steps * wanted.batch_tokens,
            "looped_from_step": self.looped_from,
            "loss": self.log[-1]["loss"] if self.log else None,
            "dev_loss": self.dev[-1]["dev_loss"],
            "seconds": round(self.seconds, 3),
            "warmup_seconds": round(self.warmup_seconds, 3),
            "tokens_per_second": round(self.steps * wanted.batch_tokens / self.seconds, 1),
        }


def train(
    model: GPT,
    batches: Iterator,
    wanted: Train,
    here: Runtime,
    *,
    dev: torch.Tensor,
    save: Callable[[int, bool], None],
    state: Run | None = None,
) -> Outcome:
    """Train ``model`` in place until the clock or the steps run out, from where ``state`` has got to.

    batches: (x, y) int64 [rows of this rank, context]. dev: int64 [rows, context + 1], whose loss is watched.
    save(step, looped): called on rank 0 every ``checkpoint_every`` steps. state: keeps the run on the way, and when a
    signal asks for its end, which then comes after the step; ``batches`` must be a Loader at its position.
    Raises Diverged when the loss is not finite, or the gradient of a logged step is zero.
    """
    loss = here.compiled(loss_function(model, here))
    began = time.perf_counter()
    warm_up(model, loss, wanted, here)
    here.finish()
    warmed = time.perf_counter() - began
    optimisers = Optimisers(model, wanted, here)
    averages = Averages(
        dict(model.named_parameters()),
        wanted.ema_decays,
        wanted.ema_traces,
        wanted.ema_snapshots if here.first else 0,  # rank 0 saves them
        wanted.ema_snapshot_every,
    )
    outcome = Outcome(averages, warmup_seconds=warmed)
    if state is not None:
        state.take(model, optimisers, outcome, batches)
    run = clocked(wanted, state)
    line = Progress("train", wanted.steps, "steps", limit_s=run.limit_s, quiet=not here.first)
    line.started -= run.used_s
    step = state.step if state is not None else 0
    run.start()
    if state is not None:
        state.start(run.seconds)
    with Postponed() as postponed:
        while True:
            seconds = here.agree(math.inf if postponed.asked else run.seconds())
            progress = run.progress(step, seconds)
            if progress >= 1 or seconds == math.inf:
                break
            looped = schedule.loop_active(progress, wanted.loop_at, model.shape.loop_passes)
            multiplier = schedule.rate(progress, warmdown=wanted.warmdown, floor=wanted.lr_floor)
            value, norm = one_step(model, loss, next(batches), optimisers, step, multiplier, looped, here)
            averages.update()
            step += 1
            if looped and outcome.looped_from is None:
                outcome.looped_from = step
            if step % wanted.log_every == 0 or step == 1:
                outcome.log.append(log_row(step, seconds, value, norm, multiplier, looped, wanted, model.shape))
                speed = f"{step * wanted.batch_tokens / run.seconds():,.0f} tok/s"
                line.update(step, share=progress, loss=f"{value.item():.4f}", at=speed)
            if wanted.dev_every and step % wanted.dev_every == 0:
                outcome.dev.append(dev_row(model, dev, step, seconds, looped, here))
            if wanted.checkpoint_every and step % wanted.checkpoint_every == 0 and here.first:
                save(step, looped)
            if state is not None and state.due(seconds):
                state.keep(step, seconds)
        here.finish()
        outcome.steps, outcome.seconds = step, here.agree(run.seconds())
        if state is not None:
            state.rest()
            state.keep(step, outcome.seconds, wait=True)
        signal_number = int(here.agree(postponed.asked or 0))
    if signal_number:
        line.done(f"stopped after {step:,} steps and {outcome.seconds:.1f} s; the same command goes on from there")
        signal.raise_signal(signal_number)
    looped = model.shape.loop_passes > 1  # what follows always runs with recurrence
    outcome.dev.append(dev_row(model, dev, step, outcome.seconds, looped, here))
    averages.snapshot()
    here.finish()
    line.done(f"{step:,} steps in {outcome.seconds:.1f} s, dev loss {outcome.dev[-1]['dev_loss']:.4f}")
    if looped and outcome.looped_from is None:
        line.done(
            f"no step ran with recurrence: none came after train.loop_at = {wanted.loop_at:g} of the budget; what "
            f"follows runs with it, so give more steps or seconds"
        )
    return outcome


def clocked(wanted: Train, state: Run | None) -> Clock:
    """The clock of a run: what calibration is to have is taken off, and what the run used before is on it."""
    budget = None if wanted.limit_s is None else wanted.limit_s - wanted.reserve_s
    return Clock(budget, wanted.steps, state.seconds if state is not None else 0.0)


def log_row(step, seconds, value, norm, multiplier, looped, wanted: Train, shape: Shape) -> dict:
    loss = value.item()
    if not math.isfinite(loss):
        short = f", or documents have fewer than {SHORTEST} tokens on average: set model.document_bos to null"
        raise Diverged(
            f"training: the loss is {loss} at step {step}; lower train.matrix_lr, train.embed_lr or train.scalar_lr, "
            f"or clip harder with train.clip{short if shape.document_bos is not None else ''}"
        )
    if not norm.item():
        raise Diverged(
            f"training: the gradient of step {step} is zero, so nothing would be learned; where train.compile: off "
            f"mends it, this release of torch compiles the model wrongly"
        )
    return {
        "step": step,
        "seconds": round(seconds, 3),
        "loss": round(loss, 6),
        "gradient_norm": round(norm.item(), 6),
        "rate": round(multiplier, 6),
        "looped": int(looped),
        "tokens": step * wanted.batch_tokens,
    }


@torch.no_grad()
def dev_row(model: GPT, dev: torch.Tensor, step: int, seconds: float, looped: bool, here: Runtime) -> dict:
    """The model's own loss on dev, rows shared out over ranks, in this state of recurrence."""
    total = torch.zeros(2, dtype=torch.float64, device=here.device)
    mine = dev[here.rank :: here.ranks]
    for rows in mine.split(16) if len(mine) else ():
        tokens = rows.to(here.device)
        with here.autocast():
            nll = model.nll(tokens[:, :-1], tokens[:, 1:], looped=looped)
        total += torch.tensor([nll.double().sum().item(), nll.numel()], dtype=torch.float64, device=here.device)
    nats, count = here.sum(total).tolist()
    if not math.isfinite(nats):
        raise Diverged(f"training: the dev loss is not finite at step {step}; lower the rates in train.*_lr")
    return {"step": step, "seconds": round(seconds, 3), "dev_loss": round(nats / count, 6)}
