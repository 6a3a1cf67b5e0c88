"""Muon with row normalisation (MuonEq-R): momentum made orthogonal by Newton–Schulz, matrices of one shape at once."""

import torch

A, B, C = 3.4445, -4.775, 2.0315  # quintic of Jordan et al., kellerjordan.github.io/posts/muon


def orthogonalise(u_NRC: torch.Tensor, steps: int) -> torch.Tensor:
    """Each matrix's nearest orthogonal one, roughly: singular values land near 1. Works in the dtype it is given."""
    tall = u_NRC.shape[-2] > u_NRC.shape[-1]
    x = u_NRC.mT.contiguous() if tall else u_NRC
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.mT if tall else x


def directions(gradients: list, buffers: list, momentum: float, steps: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """The updates of matrices of one shape, before the learning rate; their momentum buffers are advanced in place.

    buffer = m · buffer + g; u = g + m · buffer (Nesterov); rows of u to unit length; Newton–Schulz in
    ``dtype``; scaled by sqrt(max(1, rows / columns)). PR #1493.
    """
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, gradients)
    u_NRC = torch.stack(torch._foreach_add(gradients, buffers, alpha=momentum))
    u_NRC /= u_NRC.norm(dim=-1, keepdim=True).clamp_min(1e-7)
    rows, columns = u_NRC.shape[-2:]
    found_NRC = orthogonalise(u_NRC.to(dtype), steps)
    return list(found_NRC.to(u_NRC.dtype).mul_(max(1.0, rows / columns) ** 0.5))


class Muon(torch.optim.Optimizer):
    """Over 2-D parameters. Weight decay is decoupled and follows the scheduled rate: p ← p (1 - lr·wd) - lr·u.

    dtype: of Newton–Schulz; bf16 in the record, fp32 where bf16 is slow.
    """

    def __init__(
        self, parameters, *, lr: float, weight_decay: float, momentum: float, newton_schulz: int, dtype: torch.dtype
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "newton_schulz": newton_schulz}
        super().__init__(parameters, defaults)
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for bank in by_shape(p for p in group["params"] if p.grad is not None):
                buffers = [self.buffer(parameter) for parameter in bank]
                gradients = [parameter.grad for parameter in bank]
                updates = directions(gradients, buffers, group["momentum"], group["newton_schulz"], self.dtype)
                torch._foreach_mul_(bank, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(bank, updates, alpha=-group["lr"])

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
