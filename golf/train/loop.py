"""The training loop: rates by progress, recurrence by progress, averages and checkpoints on the way."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from golf.ground.errors import Diverged
from golf.ground.params import Train
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.model.gpt import GPT
from golf.train import schedule
from golf.train.clock import Clock
from golf.train.ema import Averages
from golf.train.optimizer import Optimisers


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
) -> Outcome:
    """Train ``model`` in place until the clock or the steps run out.

    batches: (x, y) int64 [rows of this rank, context]. dev: int64 [rows, context + 1], whose loss is watched.
    save(step, looped): called on rank 0 every ``checkpoint_every`` steps. Raises Diverged when the loss is not finite.
    """
    loss = here.compiled(loss_function(model, here))
    began = time.perf_counter()
    warm_up(model, loss, wanted, here)
    here.finish()
    warmed = time.perf_counter() - began
    optimisers = Optimisers(model, wanted, here.dtype)
    averages = Averages(
        dict(model.named_parameters()),
        wanted.ema_decays,
        wanted.ema_traces,
        wanted.ema_snapshots if here.first else 0,  # rank 0 saves them
        wanted.ema_snapshot_every,
    )
    outcome = Outcome(averages, warmup_seconds=warmed)
    budget = None if wanted.limit_s is None else wanted.limit_s - wanted.reserve_s
    progress_line = Progress("train", wanted.steps, "steps", limit_s=budget, quiet=not here.first)
    clock = Clock(budget, wanted.steps)
    clock.start()
    step = 0
    while True:
        seconds = here.agree(clock.seconds())
        progress = clock.progress(step, seconds)
        if progress >= 1:
            break
        looped = schedule.loop_active(progress, wanted.loop_at, model.shape.loop_passes)
        multiplier = schedule.rate(progress, warmdown=wanted.warmdown, floor=wanted.lr_floor)
        value, norm = one_step(model, loss, next(batches), optimisers, step, multiplier, looped, here)
        averages.update()
        step += 1
        if looped and outcome.looped_from is None:
            outcome.looped_from = step
        if step % wanted.log_every == 0 or step == 1:
            outcome.log.append(log_row(step, seconds, value, norm, multiplier, looped, wanted))
            speed = f"{step * wanted.batch_tokens / clock.seconds():,.0f} tok/s"
            progress_line.update(step, share=progress, loss=f"{value.item():.4f}", at=speed)
        if wanted.dev_every and step % wanted.dev_every == 0:
            outcome.dev.append(dev_row(model, dev, step, seconds, looped, here))
        if wanted.checkpoint_every and step % wanted.checkpoint_every == 0 and here.first:
            save(step, looped)
    here.finish()
    outcome.steps, outcome.seconds = step, here.agree(clock.seconds())
    looped = model.shape.loop_passes > 1  # what follows always runs with recurrence
    outcome.dev.append(dev_row(model, dev, step, outcome.seconds, looped, here))
    averages.snapshot()
    progress_line.done(f"{step:,} steps in {outcome.seconds:.1f} s, dev loss {outcome.dev[-1]['dev_loss']:.4f}")
    return outcome


def loss_function(model: GPT, here: Runtime):
    """Mean nats of a micro-batch as a function of (x, y, looped), in the runtime's precision."""

    def loss(x, y, looped: bool):
        with here.autocast():
            return model.nll(x, y, looped=looped).mean()

    return loss


def one_step(model, loss, batch, optimisers: Optimisers, number: int, multiplier: float, looped: bool, here: Runtime):
    """Gradient of the global batch's mean, clipped after the reduction, and a step. The loss and the norm, tensors."""
    wanted = optimisers.train
    x, y = batch
    rows = wanted.micro_tokens // x.shape[1]
    micro = list(zip(x.split(rows), y.split(rows), strict=True))
    total = torch.zeros((), device=here.device)
    for tokens, targets in micro:
        value = loss(tokens, targets, looped) / (len(micro) * here.ranks)
        value.backward()
        total += value.detach()
    gradients = [parameter.grad for parameter in optimisers.parameters if parameter.grad is not None]
    here.sum_flat([*gradients, total])
    norm = torch.nn.utils.clip_grad_norm_(optimisers.parameters, wanted.clip or math.inf)
    optimisers.step(number, multiplier)
    model.zero_grad(set_to_none=True)
    return total, norm


def warm_up(model: GPT, loss, wanted: Train, here: Runtime) -> None:
    """Compile both graphs on random tokens, then put everything back: weights, and optimisers made for this alone."""
    if not wanted.warmup_steps:
        return
    if here.compile:
        Progress("train", None, "steps", quiet=not here.first).done(
            "compiling: about half a minute a graph, not on the clock"
        )
    before = copy.deepcopy(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    rows, context = wanted.micro_tokens // model.shape.context, model.shape.context
    throwaway = Optimisers(model, wanted, here.dtype)
    for looped in (False, True) if model.shape.loop_passes > 1 else (False,):
        for number in range(wanted.warmup_steps):
            tokens = torch.randint(model.shape.vocabulary, (rows, context + 1), generator=generator).to(here.device)
            batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
            one_step(model, loss, batch, throwaway, number, 1.0, looped, here)
    model.load_state_dict(before)


def log_row(step, seconds, value, norm, multiplier, looped, wanted: Train) -> dict:
    loss = value.item()
    if not math.isfinite(loss):
        raise Diverged(
            f"training: the loss is {loss} at step {step}; lower train.matrix_lr, train.embed_lr or train.scalar_lr, "
            f"or clip harder with train.clip"
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
