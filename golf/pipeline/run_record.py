"""Write artifacts/<stage>/run.json: seconds, hardware, package versions and Git commit of a run. No stage reads it."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golf.distributed.packages import get_installed_version
from golf.pipeline import timing

if TYPE_CHECKING:
    from golf.distributed.context import DistContext

__all__ = ["RECORDED_PACKAGES", "get_cuda_versions", "get_git_revision", "write_run_json"]

RECORDED_PACKAGES = (  # the pinned run-time dependencies of pyproject.toml, and what may stand in for one of them
    "torch",
    "triton",
    "numpy",
    "sentencepiece",
    "brotli",
    "constriction",
    "numba",
    "safetensors",
    "pyyaml",
    "dvc",
    "psutil",
    "zstandard",
    "scipy",
    "filelock",
    "sympy",
    "networkx",
    "flash-attn-4",
    "flash-attn",
    "huggingface-hub",
)
_RUN_OUTPUTS = ("artifacts", "dvc.lock")  # tracked paths that a run itself changes


def write_run_json(stage: str, ctx: "DistContext | None", cpu_load: Mapping[str, float | str]) -> None:
    """Write the record of a stage that has just ended.

    ctx: where its model ran; None: it ran none. cpu_load: the summary of a CpuLoadMonitor, empty where there is none.
    """
    from golf.artifacts import io

    host: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    record = {
        "stage": stage,
        "seconds": round(time.time() - timing.get_process_start_time(), 3),
        "host": host,
        "hardware": timing.describe_hardware(ctx),
        "cpu_load": dict(cpu_load),
        "packages": {package: version for package in RECORDED_PACKAGES if (version := get_installed_version(package))},
        "git": get_git_revision(),
    }
    if ctx is not None:
        record["runtime"] = ctx.description
        if ctx.device.type == "cuda":
            import torch

            host["peak_bytes"] = torch.cuda.max_memory_allocated(ctx.device)
            record["cuda"] = get_cuda_versions()
    io.write_json(Path("artifacts") / stage / "run.json", record)


def get_cuda_versions() -> dict[str, str | int | None]:
    """Return the CUDA version of torch's build, cuDNN's, and the driver's; None where one cannot be determined."""
    import torch

    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        lines = []
    return {
        "runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": lines[0].strip() if lines else None,
    }


def get_git_revision() -> dict[str, Any] | None:
    """Return ``{"commit": hash, "dirty": whether tracked files differ from it}``; None outside a Git repository.

    Changes to artifacts/ and dvc.lock do not count: every run makes them, and lineage records what was read there.
    """
    command = ["git", "status", "--porcelain", "-uno", "--", ":/", *(f":(exclude){path}" for path in _RUN_OUTPUTS)]
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()
        status = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": head, "dirty": bool(status.strip())}
