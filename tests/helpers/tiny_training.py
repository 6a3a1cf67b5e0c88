"""A training run of seconds: the tiny model on a synthetic stream in which each token depends on the one before."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from golf.config import loader
from golf.config.training import TrainConfig
from golf.distributed import context
from golf.model.gpt import GPT
from golf.training import loop
from golf.training.result import TrainResult
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

# 12 steps of 8 rows in fp32, without a time limit
TINY_TRAIN_CONFIG: TrainConfig = dataclasses.replace(
    loader.load_config(ROOT / "profiles" / "laptop.yaml").train,
    device="cpu",
    compile="off",
    dtype="float32",
    limit_s=None,
    reserve_s=0.0,
    steps=12,
    batch_tokens=256,
    micro_batch_tokens=64,
    muon_momentum_warmup_steps=6,
    checkpoint_every=5,
    dev_every=5,
    log_every=1,
)

# every option of the model and of training that is off in the profiles
TRAINING_OPTIONS: dict[str, Any] = {
    "decay_schedule": "cautious",
    "ema_nesterov_beta": 0.3,
    "ema_nesterov_gamma": 0.9,
    "norm_dropout_frac": 0.05,
}
MODEL_OPTIONS: dict[str, Any] = {
    "attn_gate": "dense",
    "smear_gate_bos_id": 1,
    "conv_kernel": 3,
    "two_lane_from": 3,
    "asym_softcap": True,
}


def make_windows(rows: int = 64) -> torch.Tensor:
    """int64 [rows, 33]."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(2, (rows, 33), generator=generator)
    return (torch.randint(40, (rows, 1), generator=generator) + 3 * noise.cumsum(1)) % 60


def iter_batches(rank: int = 0, world_size: int = 1, rows: int = 8) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This rank's (x, y) of each global batch of ``rows`` windows, without end."""
    windows = make_windows()
    step = 0
    while True:
        local = windows[torch.arange(step * rows, step * rows + rows) % len(windows)][rank::world_size]
        yield local[:, :-1].contiguous(), local[:, 1:].contiguous()
        step += 1


def train_tiny_model(
    cfg: TrainConfig,
    ctx: context.DistContext | None = None,
    save_checkpoint=lambda step, recurrent: None,
    model_cfg=TINY_MODEL_CONFIG,
) -> tuple[GPT, TrainResult]:
    ctx = ctx or context.single_process()
    model = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))
    batches = iter_batches(ctx.rank, ctx.world_size)
    return model, loop.train(model, batches, cfg, ctx, dev_windows=make_windows(8), save_checkpoint=save_checkpoint)
