"""Calibration text that the model writes itself (PR #1019, docs/references.md#self-calibration): it reads no data.

The first token of a window is uniform over the vocabulary. Each further one is drawn from the model's distribution at a
temperature, by a forward pass over the window so far.
"""

# R windows (rows), T = context_length, V vocabulary

import numpy as np
import torch

from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress

__all__ = ["generate_windows", "sample_tokens"]


@torch.no_grad()
def generate_windows(
    model: GPT, n_windows: int, *, micro_rows: int, temperature: float, seed: int, ctx: DistContext, progress: Progress
) -> torch.Tensor:
    """Return this rank's windows, int64 [R, T + 1]: rank r of n has windows r, r + n, … of ``n_windows``.

    Window i draws from a random stream of ``seed`` and i, so the number of ranks and ``micro_rows``, the windows of a
    forward pass, change nothing but rounding. temperature: logits are divided by it, above 0.
    """
    length, indices = model.cfg.context_length + 1, range(ctx.rank, n_windows, ctx.world_size)
    draws_RT = np.stack([np.random.default_rng([seed, index]).random(length) for index in indices])
    windows: list[torch.Tensor] = []
    for draws in torch.from_numpy(draws_RT).to(ctx.device).split(micro_rows):
        tokens = (draws[:, :1] * model.cfg.vocab_size).long()
        for position in range(1, length):
            with ctx.autocast():
                logits_RV = model.logits(model(tokens, recurrent=True, last_n=1))[:, 0]
            next_tokens = sample_tokens(logits_RV / temperature, draws[:, position])
            tokens = torch.cat([tokens, next_tokens[:, None]], dim=1)
            progress.update(sum(map(torch.Tensor.numel, windows)) + len(tokens) * position)
        windows.append(tokens)
    return torch.cat(windows)


def sample_tokens(logits_RV: torch.Tensor, draws_R: torch.Tensor) -> torch.Tensor:
    """Return int64 [R]: the first id at which the cumulative probability exceeds the draw, uniform in [0, 1)."""
    cumulative = logits_RV.double().softmax(-1).cumsum(-1)
    tokens = torch.searchsorted(cumulative, draws_R.double()[:, None].contiguous(), right=True)[:, 0]
    return tokens.clamp_max(logits_RV.shape[1] - 1)  # rounding may leave the last cumulative probability below 1
