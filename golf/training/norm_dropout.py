"""Norm-percentile dropout: in training, drop the MLP rows with the largest norms (docs/references.md#norm-dropout)."""

import contextlib
from collections.abc import Iterator

import torch

from golf.model.gpt import GPT

__all__ = ["drop_largest_rows", "norm_dropout"]


def drop_largest_rows(hidden: torch.Tensor, drop_frac: float) -> torch.Tensor:
    """Set rows with a norm (L2) of at least the quantile 1 - ``drop_frac`` of all rows to 0; nothing is rescaled.

    hidden: [..., F]; each vector along the last dimension is a row.
    """
    norms = hidden.detach().flatten(0, -2).float().norm(dim=-1)
    is_kept = norms < torch.quantile(norms, 1 - drop_frac)
    return hidden * is_kept.view(*hidden.shape[:-1], 1).to(hidden.dtype)


@contextlib.contextmanager
def norm_dropout(model: GPT, drop_frac: float) -> Iterator[None]:
    """Apply it to the hidden rows of every MLP in this context, where gradients are on; 0 does nothing.

    The quantile is that of one micro-batch of one rank, so results depend on both.
    """

    def drop(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        return drop_largest_rows(args[0], drop_frac) if torch.is_grad_enabled() else None

    with contextlib.ExitStack() as hooks:
        for block in model.blocks if drop_frac else ():
            hooks.callback(block.mlp.proj.register_forward_pre_hook(drop).remove)
        yield
