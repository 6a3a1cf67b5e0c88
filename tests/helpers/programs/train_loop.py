"""One of two ranks: train the tiny model; rank 0 writes its losses to <rendezvous>.json. Arguments: see main."""

import dataclasses
import sys

import torch.distributed as dist

from golf.artifacts import io
from golf.distributed import context
from golf.training.result import TrainResult
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import MODEL_OPTIONS, TINY_TRAIN_CONFIG, TRAINING_OPTIONS, train_tiny_model

RUNS = "plain", "options"


def train(name: str, ctx: context.DistContext) -> TrainResult:
    """The tiny run, or the one with every option but the dropout, whose quantile is that of a rank."""
    cfg, model_cfg = dataclasses.replace(TINY_TRAIN_CONFIG, ranks=ctx.world_size), TINY_MODEL_CONFIG
    if name == "options":
        cfg = dataclasses.replace(cfg, **TRAINING_OPTIONS | {"norm_dropout_frac": 0.0})
        model_cfg = dataclasses.replace(model_cfg, **MODEL_OPTIONS)
    return train_tiny_model(cfg, ctx, model_cfg=model_cfg)[1]


def main(rendezvous: str, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    ctx = dataclasses.replace(context.single_process(), rank=rank, world_size=2)
    losses = {name: [row["loss"] for row in train(name, ctx).log] for name in RUNS}
    if ctx.is_main:
        io.write_json(f"{rendezvous}.json", losses)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
