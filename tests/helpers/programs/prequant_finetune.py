"""One of three ranks: train every case of tests.helpers.prequant, with three ranks and then with the first two.

Arguments: rendezvous file, rank. It writes weights to <rendezvous>.<world size>.<case number>.<rank>.
"""

import dataclasses
import sys

import torch.distributed as dist

from golf.artifacts import io
from golf.distributed import context
from tests.helpers.prequant import CASES, finetune


def main(rendezvous: str, rank: int) -> None:
    for world_size in range(3, max(1, rank), -1):
        dist.init_process_group("gloo", f"file://{rendezvous}.{world_size}", rank=rank, world_size=world_size)
        ctx = dataclasses.replace(context.single_process(), rank=rank, world_size=world_size)
        for number, cfg in enumerate(CASES.values()):
            model, losses = finetune(cfg, ctx)
            path = f"{rendezvous}.{world_size}.{number}.{rank}"
            io.save_tensors(path, model.state_dict(), kind="weights", meta={"losses": losses})
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
