"""Muon with row normalisation (MuonEq-R): momentum made orthogonal by Newton–Schulz, matrices of one shape at once."""

import torch

A, B, C = 3.4445, -4.775, 2.0315  # quintic of Jordan et al., kellerjordan.github.io/posts/muon


def orthogonalise(u_NRC: torch.Tensor, steps: int) -> torch.Tensor:
    """Each matrix's nearest orthogonal one, roughly: singular values land near 1. Works in the dtype it is given."""
    x = u_NRC / (u_NRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if tall else x


def direction(gradient_NRC: torch.Tensor, momentum_NRC: torch.Tensor, momentum: float, steps: int) -> torch.Tensor:
    """The update before the learning rate; ``momentum_NRC`` is advanced in place.

    buffer = m · buffer + g; u = g + m · buffer (Nesterov); rows of u to unit length; Newton–Schulz in bf16;
    scaled by sqrt(max(1, rows / columns)). PR #1493.
    """
    momentum_NRC.mul_(momentum).add_(gradient_NRC)
    u = gradient_NRC + momentum * momentum_NRC
    u = u / u.norm(dim=-1, keepdim=True).clamp_min(1e-7)
    rows, columns = u.shape[-2:]
    return orthogonalise(u.bfloat16(), steps).to(gradient_NRC.dtype) * max(1.0, rows / columns) ** 0.5


class Muon(torch.optim.Optimizer):
    """Over 2-D parameters. Weight decay is decoupled and follows the scheduled rate: p ← p (1 - lr·wd) - lr·u."""

    def __init__(self, parameters, *, lr: float, weight_decay: float, momentum: float, newton_schulz: int):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "newton_schulz": newton_schulz}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for bank in by_shape(p for p in group["params"] if p.grad is not None):
                buffers = [self.buffer(parameter) for parameter in bank]
                momenta = torch.stack(buffers)
                gradients = torch.stack([parameter.grad for parameter in bank])
                updates = direction(gradients, momenta, group["momentum"], group["newton_schulz"])
                torch._foreach_copy_(buffers, list(momenta))
                torch._foreach_mul_(bank, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(bank, list(updates), alpha=-group["lr"])

    def buffer(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


def by_shape(parameters) -> list[list[torch.Tensor]]:
    """Parameters of equal shape together, in the order they come."""
    banks: dict[torch.Size, list[torch.Tensor]] = {}
    for parameter in parameters:
        banks.setdefault(parameter.shape, []).append(parameter)
    return list(banks.values())
