"""A calibrate stage whose rank 1 never joins a collective, with a timeout of two seconds for it."""

import datetime
import time

from golf.distributed import device
from golf.distributed.context import DistContext
from golf.model.attention_backends import resolve_attention
from golf.pipeline import runner


def main(ctx: DistContext) -> None:
    if ctx.rank == 1:
        time.sleep(600)
    ctx.all_reduce_max(0.0)


if __name__ == "__main__":
    device.COLLECTIVE_TIMEOUT = datetime.timedelta(seconds=2)
    runner.run_stage("calibrate", main, resolve_attention=resolve_attention)
