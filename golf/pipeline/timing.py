"""Seconds that count against a limit, and the hardware they were measured on."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from golf.distributed.launcher import STARTED_AT_ENV

__all__ = ["describe_hardware", "get_process_start_time", "write_timing_json"]

if TYPE_CHECKING:
    from golf.distributed.context import DistContext


def get_process_start_time() -> float:
    """Return when this command's first process started, in seconds since the epoch; imports and rank launch count."""
    import psutil

    return float(os.environ.get(STARTED_AT_ENV, psutil.Process().create_time()))


def describe_hardware(ctx: "DistContext | None") -> str:
    """Return the hardware of a stage: ``8 × NVIDIA H100 80GB HBM3`` or ``2 × CPU core (x86_64)``.

    ctx None: no model ran.
    """
    if ctx is not None and ctx.device.type == "cuda":
        import torch

        return f"{ctx.world_size} × {torch.cuda.get_device_name(ctx.device)}"
    return f"{os.cpu_count()} × CPU core ({platform.machine()})"


def write_timing_json(stage: str, ctx: "DistContext | None" = None, **seconds: float | None) -> None:
    """Write artifacts/<stage>/timing.json: the named seconds, to the millisecond, the hardware, a digest.

    Later stages check these seconds against the time limits. ctx: None where no time was spent.
    """
    from golf.artifacts import json_records

    timing: dict[str, float | str | None] = {
        key: value if value is None else round(value, 3) for key, value in seconds.items()
    }
    if ctx is not None:
        timing["hardware"] = describe_hardware(ctx)
    json_records.write_sealed(Path("artifacts") / stage / "timing.json", timing)
