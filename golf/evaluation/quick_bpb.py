"""Plain bpb of full-precision weights, without a ledger or a sandbox: how the ema stage compares weights on dev."""

# N windows, T = context_length

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from golf.config.model import ModelConfig
from golf.data.eval_stream import EvalStream
from golf.distributed.context import DistContext
from golf.model.fused_cross_entropy import MAX_CHUNK_LOGITS
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress

__all__ = ["make_plain_bpb_fn"]

_NOT_A_TARGET = -100  # what cross_entropy leaves out


def make_plain_bpb_fn(
    stream: EvalStream,
    model_cfg: ModelConfig,
    ctx: DistContext,
    *,
    eval_batch_tokens: int,
    progress: Progress | None = None,
) -> Callable[..., float]:
    """Return ``compute_plain_bpb(state_dict, recurrent=True)``, which scores ``stream`` in windows of the context.

    One model and one compiled graph serve all calls. eval_batch_tokens: input tokens of a batch. recurrent: whether
    depth recurrence is active. progress: counts the targets of all calls.
    """
    model = GPT(model_cfg, ctx.attention).to(ctx.device)
    forward = {recurrent: ctx.maybe_compile(_make_forward(model, recurrent)) for recurrent in (True, False)}
    batch_rows = max(1, eval_batch_tokens // model_cfg.context_length)
    inputs_NT, targets_NT = _cut_windows(stream.tokens, model_cfg.context_length, batch_rows if ctx.compile else 1)
    n_bytes, n_scored = int(stream.target_bytes.sum(dtype=np.int64)), 0

    @torch.no_grad()
    def compute_plain_bpb(state_dict: dict[str, torch.Tensor], recurrent: bool = True) -> float:
        nonlocal n_scored
        model.load_state_dict(state_dict)
        nats = torch.zeros((), dtype=torch.float64, device=ctx.device)
        for inputs, targets in zip(inputs_NT.split(batch_rows), targets_NT.split(batch_rows), strict=True):
            with ctx.autocast():
                hidden = forward[recurrent](inputs.to(ctx.device))
            nats += _sum_nats(model, hidden.flatten(0, 1), targets.flatten().to(ctx.device))
            n_scored += int((targets != _NOT_A_TARGET).sum())
            if progress:
                progress.update(n_scored, at=f"{n_scored / max(progress.elapsed_s(), 1e-3):,.0f} tok/s")
        return nats.item() / float(np.log(2)) / n_bytes

    return compute_plain_bpb


def _make_forward(model: GPT, recurrent: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tokens: model(tokens, recurrent=recurrent)


def _cut_windows(tokens: np.ndarray, context_length: int, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of adjacent windows, int64 [N, T] each, with N a multiple of ``multiple``.

    Beyond the stream inputs are 0, which no position that counts attends to, and targets are ``_NOT_A_TARGET``.
    """
    n_windows = -(-(len(tokens) - 1) // (context_length * multiple)) * multiple
    inputs = torch.zeros(n_windows * context_length, dtype=torch.int64)
    targets = torch.full_like(inputs, _NOT_A_TARGET)
    inputs[: len(tokens) - 1] = torch.from_numpy(tokens[:-1].astype(np.int64))
    targets[: len(tokens) - 1] = torch.from_numpy(tokens[1:].astype(np.int64))
    return inputs.view(n_windows, context_length), targets.view(n_windows, context_length)


def _sum_nats(model: GPT, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The nats of all targets, with the logits of a few positions at a time: on a CPU faster than all at once."""
    n_rows = max(1, MAX_CHUNK_LOGITS.get(hidden.device.type, MAX_CHUNK_LOGITS["cpu"]) // model.cfg.vocab_size)
    nats = torch.zeros((), dtype=torch.float64, device=hidden.device)
    for part, part_targets in zip(hidden.split(n_rows), targets.split(n_rows), strict=True):
        nats += F.cross_entropy(model.logits(part), part_targets, reduction="sum", ignore_index=_NOT_A_TARGET)
    return nats
