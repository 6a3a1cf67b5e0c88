"""Who gets Muon, who gets AdamW, and that nobody is forgotten (record-stack 1.4)."""

import torch

from golf.ground.params import Train
from golf.model.gpt import GPT
from golf.train import schedule
from golf.train.muon import Muon


def groups(model: GPT) -> dict[str, list[torch.nn.Parameter]]:
    """embed: the tied embedding; matrix: 2-D weights inside blocks; scalar: gains, scales, mixes and skips."""
    found = {"embed": [], "matrix": [], "scalar": []}
    for name, parameter in model.named_parameters():
        found[group_of(name)].append(parameter)
    return found


def group_of(name: str) -> str:
    if name == "tok_emb.weight":
        return "embed"
    return "matrix" if name.startswith("blocks.") and name.endswith(".weight") else "scalar"


class Optimisers:
    """The three groups as one: a step at a share of the rates. Without a step taken there is no state."""

    def __init__(self, model: GPT, train: Train, dtype: torch.dtype):
        found = groups(model)
        adam = {"betas": (train.beta1, train.beta2), "eps": train.eps, "fused": True}
        self.train = train
        self.parameters = [parameter for group in found.values() for parameter in group]
        self.muon = Muon(
            found["matrix"],
            lr=train.matrix_lr,
            weight_decay=train.matrix_decay,
            momentum=train.momentum_start,
            newton_schulz=train.newton_schulz,
            dtype=dtype,
        )
        self.adam = torch.optim.AdamW(
            [
                {"params": found["embed"], "lr": train.embed_lr, "weight_decay": train.embed_decay},
                {"params": found["scalar"], "lr": train.scalar_lr, "weight_decay": train.scalar_decay},
            ],
            **adam,
        )
        self.rates = [(group, group["lr"]) for each in (self.muon, self.adam) for group in each.param_groups]

    def step(self, number: int, multiplier: float) -> None:
        """Step ``number`` (from 0) at ``multiplier`` of every rate; gradients must be reduced and clipped."""
        for group, full in self.rates:
            group["lr"] = full * multiplier
        for group in self.muon.param_groups:
            group["momentum"] = schedule.momentum(
                number, start=self.train.momentum_start, end=self.train.momentum, steps=self.train.momentum_steps
            )
        self.muon.step()
        self.adam.step()

    def state(self) -> list[torch.Tensor]:
        """Every tensor that the optimisers hold."""
        held = [entry for each in (self.muon, self.adam) for entry in each.state.values()]
        return [value for entry in held for value in entry.values() if isinstance(value, torch.Tensor)]
