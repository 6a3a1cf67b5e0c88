"""Stages of tests: a copy of this file hides a real stage and runs the function that the .txt file beside it names.

``stage_processes.write_stub_stage`` writes both. ctx: None in a stage that has no ranks.
"""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import torch

from golf.artifacts import io
from golf.distributed import launcher
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, GolfError
from golf.model.attention_backends import resolve_attention
from golf.pipeline import runner

VAL_SHARD = "artifacts/fetch/val/val_000000.bin"
NAMES_LIKE_VAL = ("artifacts/fetch/val_notes.txt", "artifacts/fetch/dev/val", "val")
FULL_DISK_PATH = "artifacts/fetch/train/train_000000.bin"
MISSING_FOLDER_PATH = "artifacts/fetch/missing/a.bin"


def do_nothing(ctx: DistContext | None) -> None:
    pass


def require_one_rank(ctx: DistContext) -> None:
    assert ctx.world_size == 1
    assert ctx.is_main


def write_probe_seed(ctx: DistContext) -> None:
    Path(f"rank{ctx.rank}of{ctx.world_size}").write_text(os.environ[launcher.PROBE_SEED_ENV])
    ctx.all_reduce_max(0.0)


def fail_on_all_ranks(ctx: DistContext) -> None:
    raise ArtifactError("artifacts/x", "not found")


def fail_on_rank_1(ctx: DistContext) -> None:
    if ctx.rank == 1:
        raise ArtifactError("artifacts/x", "not found")
    ctx.all_reduce_max(0.0)


def crash_on_rank_1(ctx: DistContext) -> None:
    if ctx.rank == 1:
        raise ZeroDivisionError("a bug")
    ctx.all_reduce_max(0.0)


def kill_rank_1(ctx: DistContext) -> None:
    if ctx.rank == 1:
        os.kill(os.getpid(), 9)
    ctx.all_reduce_max(0.0)


def sleep_on_all_ranks(ctx: DistContext) -> None:
    Path(f"ready{ctx.rank}").write_text(str(os.getpid()))
    time.sleep(600)


def sleep(ctx: None) -> None:
    Path("ready").touch()
    time.sleep(600)


def sleep_while_writing(ctx: None) -> None:
    io.write_bytes("good", b"good")
    with io.atomic_write("good") as tmp_path:
        tmp_path.write_bytes(b"half")
        sleep(ctx)


def crash(ctx: None) -> None:
    raise ZeroDivisionError("a bug")


def fail_to_compile(ctx: DistContext) -> None:
    """The compiler passes the check at the start and fails afterwards."""

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise RuntimeError("model.cpp:9:1: error: out of memory")

    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))


def fill_disk(ctx: None) -> None:
    raise OSError(28, "No space left on device", FULL_DISK_PATH)


def write_into_missing_folder(ctx: None) -> None:
    with open(MISSING_FOLDER_PATH, "wb"):
        pass


def open_val(ctx: DistContext | None) -> None:
    with open(VAL_SHARD):
        pass


def open_val_on_rank_1(ctx: DistContext) -> None:
    if ctx.rank == 1:
        open_val(ctx)
    ctx.all_reduce_max(0.0)


def read_val(ctx: DistContext) -> None:
    assert Path(VAL_SHARD).read_text() == "held out"


def read_names_like_val(ctx: None) -> None:
    for name in NAMES_LIKE_VAL:
        assert Path(name).read_text() == "open"


def open_val_by_every_call(ctx: None) -> None:
    """Fails unless each call is refused."""
    calls = (
        (open, VAL_SHARD, "rb"),
        (open, VAL_SHARD, "w"),
        (open, VAL_SHARD.encode(), "rb"),
        (open, Path(VAL_SHARD).absolute()),
        (open, "artifacts/fetch/../fetch/./val/val_000000.bin"),
        (os.open, VAL_SHARD, os.O_RDONLY),
        (np.memmap, VAL_SHARD),
        (open_val_from_another_folder,),
    )
    refusals = []
    for function, *arguments in calls:
        try:
            function(*arguments)
        except GolfError as error:
            refusals.append("only evaluate reads val" in str(error))
    assert refusals == [True] * len(calls)


def open_val_from_another_folder() -> None:
    with contextlib.chdir("artifacts"), open("fetch/val/val_000000.bin"):
        pass


def main(ctx: DistContext | None = None) -> None:
    globals()[Path(__file__).with_suffix(".txt").read_text()](ctx)


if __name__ == "__main__":
    runner.run_stage(Path(__file__).stem, main, resolve_attention=resolve_attention)
