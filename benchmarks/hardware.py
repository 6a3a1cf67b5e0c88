"""The machine that a figure was measured on, and what its arithmetic could do at best."""

import os
import platform
import re
import time
from pathlib import Path

import torch

# Dense bf16 FLOP/s by the vendors' data sheets; the first name that the device's own contains.
PEAKS = {
    "H100 PCIe": 756e12,
    "H200": 989.4e12,
    "H100": 989.4e12,
    "B200": 2250e12,
    "A100": 312e12,
}
SIDE = {"cuda": 8192, "cpu": 2048}  # of the square matrices whose product measures what no data sheet says


def describe(device: torch.device) -> dict:
    """machine: its name for people; slug: the same for a file's name; and what it ran."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    words = name if device.type == "cuda" else f"cpu {torch.get_num_threads()} threads"
    return {
        "machine": name,
        "slug": re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The CPU's name as Linux gives it; elsewhere its kind."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"(?m)^model name\s*:\s*(.+)$", listed.read_text()) if listed.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def peak(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s, and where the figure is from: the data sheet, else the fastest of some large products here and now."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        if known := next((model for model in PEAKS if model in name), None):
            return PEAKS[known], "data sheet"
    side = SIDE[device.type]
    factors = [torch.randn(side, side, device=device).to(dtype) for _ in range(2)]
    best, clock = float("inf"), time.process_time if own_clock(device) else time.perf_counter
    for _ in range(6):
        finish(device)
        start = clock()
        torch.mm(*factors)
        finish(device)
        best = min(best, clock() - start)
    return 2 * side**3 / best, f"measured, {side}³ product in {str(dtype).removeprefix('torch.')}"


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def own_clock(device: torch.device) -> bool:
    """Whether seconds are the process's own: on one CPU thread, so that other work on the machine does not count."""
    return device.type == "cpu" and torch.get_num_threads() == 1
