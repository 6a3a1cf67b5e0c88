"""One training step over micro-batches, and the warm-up that compiles its graphs."""

import copy
from collections.abc import Callable

import torch

from golf.config.training import TrainConfig
from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.pipeline.progress import log_compiling
from golf.training import schedule
from golf.training.optimizer import MuonAdamW

__all__ = ["LossFn", "compile_warmup", "make_loss_fn", "train_step"]

LossFn = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]  # (x, y, recurrent) -> mean nats


def make_loss_fn(model: GPT, ctx: DistContext) -> LossFn:
    """Return the mean loss of a micro-batch as a function of (x, y, recurrent), in the context's precision."""

    def loss_fn(x: torch.Tensor, y: torch.Tensor, recurrent: bool) -> torch.Tensor:
        with ctx.autocast():
            return model.nll_sum(x, y, recurrent=recurrent, fit_softcaps=False) / y.numel()

    return loss_fn


def train_step(
    model: GPT,
    loss_fn: LossFn,
    batch: tuple[torch.Tensor, torch.Tensor],
    optimizer: MuonAdamW,
    step_index: int,
    lr_multiplier: float,
    recurrent: bool,
    ctx: DistContext,
    decay_multiplier: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make one optimizer step on the gradient of the global batch's mean loss, clipped after the reduction.

    ``batch`` is this rank's (x, y), int64 [rows, context_length] each. Returns the global batch's loss and the norm of
    its gradient, as scalar tensors that the host has not waited for.
    """
    cfg = optimizer.cfg
    x, y = batch
    optimizer.look_ahead(lr_multiplier)
    micro_rows = cfg.micro_batch_tokens // x.shape[1]
    micro_batches = list(zip(x.split(micro_rows), y.split(micro_rows), strict=True))
    total_loss = torch.zeros((), device=ctx.device)
    for tokens, targets in micro_batches:
        micro_loss = loss_fn(tokens, targets, recurrent) / (len(micro_batches) * ctx.world_size)
        micro_loss.backward()
        total_loss += micro_loss.detach()
    grad_norm = optimizer.step(step_index, lr_multiplier, total_loss, decay_multiplier)
    model.zero_grad(set_to_none=True)
    return total_loss, grad_norm


def compile_warmup(model: GPT, loss_fn: LossFn, cfg: TrainConfig, ctx: DistContext) -> None:
    """Compile the graphs of every context length, without and with recurrence, by steps on random tokens.

    Then the weights are restored.

    The steps use a separate optimizer and leave no state (docs/references.md#warmup).
    """
    if not cfg.compile_warmup_steps:
        return
    log_compiling("train", ctx, ", not counted as training time")
    initial_state = copy.deepcopy(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    scratch_optimizer = MuonAdamW(model, cfg, ctx)
    for context_length, recurrent in schedule.list_training_graphs(
        cfg.context_schedule, model.cfg.context_length, cfg.recurrence_from, model.cfg.recur_passes
    ):
        rows = cfg.micro_batch_tokens // context_length
        for step_index in range(cfg.compile_warmup_steps):
            tokens = torch.randint(model.cfg.vocab_size, (rows, context_length + 1), generator=generator).to(ctx.device)
            batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
            train_step(model, loss_fn, batch, scratch_optimizer, step_index, 1.0, recurrent, ctx)
    model.load_state_dict(initial_state)
