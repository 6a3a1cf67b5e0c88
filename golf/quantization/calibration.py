"""Calibration: Hessians and sensitivities, measured on tokens of train or on tokens that the model draws itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch

from golf.config.sections import CalibrateConfig
from golf.data.loader import TokenLoader
from golf.data.split_reader import TokenSplit
from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians, sensitivity
from golf.quantization.self_generation import generate_windows

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True)
class Calibration:
    """What calibration measured, on the device.

    hessian_by_input: fp32 [I, I] by input name, summed over all tokens. sensitivity_by_name: fp32 [O] by tensor name.
    windows: tokens of all ranks, uint16 [n, context_length + 1]. seconds: of the slowest rank, without compilation.
    """

    hessian_by_input: dict[str, torch.Tensor]
    sensitivity_by_name: dict[str, torch.Tensor]
    windows: torch.Tensor
    seconds: float


def calibrate(
    model: GPT,
    inputs: dict[str, str],
    cfg: CalibrateConfig,
    ctx: DistContext,
    *,
    seed: int,
    open_train: Callable[[], TokenSplit],
    time_left_s: float | None,
) -> Calibration:
    """Measure the Hessian of each input and the sensitivity of each output on the same tokens.

    inputs: from ``hessians.map_quantized_inputs``. seed: of the tokens and of the sampled targets. open_train: opens
    the train split, which source self does not read. time_left_s: seconds that training left of its limit; None: no
    limit. Fewer batches than asked for are read where another would not fit.
    Raises InputError when train has too few tokens for one batch, DivergenceError when a result is not finite.
    """
    context_length = model.cfg.context_length
    micro_rows = cfg.micro_batch_tokens // context_length
    with _open_batches(model, cfg, ctx, seed=seed, open_train=open_train) as batches:
        hessian_by_input, windows, forward_s = hessians.collect_hessians(
            model,
            inputs,
            islice(batches, cfg.batches),
            micro_rows=micro_rows,
            ctx=ctx,
            progress=Progress("calibrate", cfg.batches, "batch", quiet=not ctx.is_main),
            time_left_s=time_left_s,
            followup_batches=sensitivity.BACKWARD_COST * (cfg.sensitivity_tokens / cfg.batch_tokens),
        )
    sensitivity_windows = windows[: cfg.sensitivity_tokens // context_length]
    n_windows = len(sensitivity_windows[ctx.rank :: ctx.world_size])
    sensitivity_by_name, backward_s = sensitivity.estimate_output_fisher(
        model,
        inputs,
        sensitivity_windows,
        micro_rows=max(1, micro_rows // sensitivity.BACKWARD_COST),
        seed=seed,
        ctx=ctx,
        progress=Progress("calibrate", n_windows, "windows with gradients", quiet=not ctx.is_main),
    )
    return Calibration(hessian_by_input, sensitivity_by_name, windows, forward_s + backward_s)


@contextmanager
def _open_batches(
    model: GPT, cfg: CalibrateConfig, ctx: DistContext, *, seed: int, open_train: Callable[[], TokenSplit]
) -> Iterator[Iterator[tuple[torch.Tensor, torch.Tensor]]]:
    """Iterate over this rank's (x, y), int64 [batch_tokens / T / ranks, T] each, y being x shifted by one token.

    T: context_length. open_train: opens the train split, which source self does not read. Source train gives batches
    without end, source self ``cfg.batches``, all generated at the start, before the time that counts as training.
    Raises InputError when train has too few tokens for one batch.
    """
    context_length = model.cfg.context_length
    rows = cfg.batch_tokens // context_length
    if cfg.source == "self":
        windows = _generate(model, cfg, ctx, seed=seed, n_windows=cfg.batches * rows)
        yield iter([(batch[:, :-1], batch[:, 1:]) for batch in windows.split(rows // ctx.world_size)])
        return
    order = {"seed": seed, "rank": ctx.rank, "world_size": ctx.world_size, "device": ctx.device}
    param_name = "calibrate.batch_tokens"
    with TokenLoader(open_train(), rows=rows, context_length=context_length, param_name=param_name, **order) as loader:
        yield loader


def _generate(model: GPT, cfg: CalibrateConfig, ctx: DistContext, *, seed: int, n_windows: int) -> torch.Tensor:
    n_tokens, micro_rows = cfg.batches * cfg.batch_tokens, cfg.micro_batch_tokens // model.cfg.context_length
    progress = Progress("calibrate", n_tokens // ctx.world_size, "tokens generated", quiet=not ctx.is_main)
    options = {"micro_rows": micro_rows, "temperature": cfg.temperature, "seed": seed}
    windows = generate_windows(model, n_windows, ctx=ctx, progress=progress, **options)
    progress.finish(f"{n_tokens:,} tokens at temperature {cfg.temperature:g}, not counted as training time")
    return windows
