"""One of two ranks: train the tiny model; rank 0 writes its losses to <rendezvous>.json. Arguments: see main."""

import dataclasses
import sys

import torch.distributed as dist

from golf.artifacts import io
from golf.distributed import context
from tests.helpers.tiny_training import TINY_TRAIN_CONFIG, train_tiny_model


def main(rendezvous: str, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    ctx = dataclasses.replace(context.single_process(), rank=rank, world_size=2)
    _, result = train_tiny_model(dataclasses.replace(TINY_TRAIN_CONFIG, ranks=2), ctx)
    if ctx.is_main:
        io.write_json(f"{rendezvous}.json", {"loss": [row["loss"] for row in result.log]})
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
