"""One optimiser step: the gradient of the global batch's mean, clipped after the reduction; and the warm-up to it."""

import copy

import torch

from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.ground.sections import Train
from golf.model.gpt import GPT
from golf.train.optimizer import Optimisers


def loss_function(model: GPT, here: Runtime):
    """Mean nats of a micro-batch as a function of (x, y, looped), in the runtime's precision."""

    def loss(x, y, looped: bool):
        with here.autocast():
            return model.summed_nll(x, y, looped=looped) / y.numel()

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
    norm = optimisers.step(number, multiplier, total)
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
    throwaway = Optimisers(model, wanted, here)
    for looped in (False, True) if model.shape.loop_passes > 1 else (False,):
        for number in range(wanted.warmup_steps):
            tokens = torch.randint(model.shape.vocabulary, (rows, context + 1), generator=generator).to(here.device)
            batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
            one_step(model, loss, batch, throwaway, number, 1.0, looped, here)
    model.load_state_dict(before)
