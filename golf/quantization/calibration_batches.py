"""The batches of calibration: tokens of the train split, or tokens that the model draws itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from golf.config.sections import CalibrateConfig
from golf.data.loader import TokenLoader
from golf.data.split_reader import TokenSplit
from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization.self_generation import generate_windows

__all__ = ["open_batches"]


@contextmanager
def open_batches(
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
