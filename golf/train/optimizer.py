"""Who gets Muon, who gets AdamW, that nobody is forgotten, and their step over all ranks (record-stack 1.4)."""

import math

import torch

from golf.ground.runtime import Runtime
from golf.ground.sections import Train
from golf.model.gpt import GPT
from golf.train import schedule
from golf.train.muon import Muon, fill


def groups(model: GPT) -> dict[str, dict[str, torch.nn.Parameter]]:
    """By name. embed: the tied embedding; matrix: 2-D weights inside blocks; scalar: gains, scales, mixes and skips."""
    found = {"embed": {}, "matrix": {}, "scalar": {}}
    for name, parameter in model.named_parameters():
        found[group_of(name)][name] = parameter
    return found


def group_of(name: str) -> str:
    if name == "tok_emb.weight":
        return "embed"
    return "matrix" if name.startswith("blocks.") and name.endswith(".weight") else "scalar"


class Optimisers:
    """The three groups as one. Gradients come in as each rank has them; weights come out the same on all ranks.

    Without a step taken there is no state.
    """

    def __init__(self, model: GPT, train: Train, here: Runtime):
        found = groups(model)
        self.train, self.here = train, here
        self.muon = Muon(found["matrix"], train, here)
        self.rest = found["embed"] | found["scalar"]
        self.adam = torch.optim.AdamW(
            [
                {"params": list(found["embed"].values()), "lr": train.embed_lr, "weight_decay": train.embed_decay},
                {"params": list(found["scalar"].values()), "lr": train.scalar_lr, "weight_decay": train.scalar_decay},
            ],
            betas=(train.beta1, train.beta2),
            eps=train.eps,
            fused=True,
        )
        self.full = [group["lr"] for group in self.adam.param_groups]

    def step(self, number: int, multiplier: float, loss: torch.Tensor) -> torch.Tensor:
        """Step ``number`` (from 0) at ``multiplier`` of every rate, on gradients that sum over ranks to the batch's.

        loss: this rank's share, which becomes the sum over ranks. Returns the norm of the summed gradient, by which all
        of it is clipped, the same on every rank (#1855 clips before it sums, record-stack 5.2). On a GPU the host waits
        for nothing. The small rest travels first, then bank by bank; AdamW runs while Muon's directions travel.
        """
        train = self.train
        gradients = [parameter.grad for parameter in self.rest.values() if parameter.grad is not None]
        landed = self.here.begin_sum_flat([*gradients, loss])
        self.muon.send()
        landed()
        device = self.here.device
        norm = (self.here.sum(squares(self.muon.mine(), device)) + squares(gradients, device)).sqrt()
        clip = ((train.clip or math.inf) / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
        torch._foreach_mul_(gradients, clip)
        momentum = schedule.momentum(number, start=train.momentum_start, end=train.momentum, steps=train.momentum_steps)
        self.muon.turn(clip, momentum)
        for group, full in zip(self.adam.param_groups, self.full, strict=True):
            group["lr"] = full * multiplier
        self.adam.step()
        self.muon.move(train.matrix_lr * multiplier)
        return norm

    def state(self) -> list[torch.Tensor]:
        """Every tensor that the optimisers hold on this rank."""
        return list(self.state_dict().values())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """This rank's state by name, not copied: ``muon/<parameter>/<kind>``, ``adam/<parameter>/<kind>``."""
        adam = {
            f"adam/{name}/{kind}": tensor
            for name, parameter in self.rest.items()
            for kind, tensor in self.adam.state.get(parameter, {}).items()
        }
        return self.muon.state_dict() | adam

    def load_state_dict(self, saved: dict[str, torch.Tensor]) -> None:
        """Put back what ``state_dict`` gave on this rank, bit for bit; an empty one is the state before the first step.

        Raises ValueError when it is not the state of this model, on this rank, with these parameters of train.
        """
        parts = {part: {n: t for n, t in saved.items() if n.startswith(part)} for part in ("muon/", "adam/")}
        if unknown := saved.keys() - parts["muon/"].keys() - parts["adam/"].keys():
            raise ValueError(f"optimiser state: unknown {min(unknown)}")
        self.muon.load_state_dict(parts["muon/"])
        stepped = [name for name in self.rest if f"adam/{name}/step" in saved]
        blank = {name: self.blank(self.rest[name]) for name in stepped}
        fill(
            {f"adam/{name}/{kind}": each for name, kinds in blank.items() for kind, each in kinds.items()},
            parts["adam/"],
        )
        self.adam.state.clear()
        self.adam.state.update({self.rest[name]: kinds for name, kinds in blank.items()})

    def blank(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """What fused AdamW makes at its first step."""
        step = torch.zeros((), device=self.here.device)
        return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def squares(gradients: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Sum of all squares, fp32, of no dimension; a rank may own no matrix."""
    if not gradients:
        return torch.zeros((), device=device)
    return torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).square().sum()
