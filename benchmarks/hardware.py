"""The machine of a measurement, and its peak arithmetic rate."""

import os
import platform
import re
import time
from pathlib import Path

import torch

__all__ = [
    "MATMUL_SIZE",
    "PEAK_BF16_FLOPS",
    "cpu_name",
    "describe_machine",
    "peak_flops",
    "synchronize",
    "uses_process_time",
]

# Dense bf16 FLOP/s from the vendors' data sheets, by a part of the device's name; the first match counts.
PEAK_BF16_FLOPS = {
    "H100 PCIe": 756e12,
    "H200": 989.4e12,
    "H100": 989.4e12,
    "B200": 2250e12,
    "A100": 312e12,
}
MATMUL_SIZE = {"cuda": 8192, "cpu": 2048}  # rows of the square matrices whose product is timed without a data sheet


def describe_machine(device: torch.device) -> dict:
    """machine: its name; slug: the name for use in file names; and its threads, CPUs and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    label = name if device.type == "cuda" else f"cpu {torch.get_num_threads()} threads"
    return {
        "machine": name,
        "slug": re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-"),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The name of the CPU according to Linux; elsewhere its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    match = re.search(r"(?m)^model name\s*:\s*(.+)$", cpuinfo.read_text()) if cpuinfo.exists() else None
    return match[1].strip() if match else platform.processor() or platform.machine()


def peak_flops(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s and their source: the data sheet, else the fastest of several large matrix products."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        if gpu_model := next((model for model in PEAK_BF16_FLOPS if model in name), None):
            return PEAK_BF16_FLOPS[gpu_model], "data sheet"
    size = MATMUL_SIZE[device.type]
    factors = [torch.randn(size, size, device=device).to(dtype) for _ in range(2)]
    best_s, clock = float("inf"), time.process_time if uses_process_time(device) else time.perf_counter
    for _ in range(6):
        synchronize(device)
        start = clock()
        torch.mm(*factors)
        synchronize(device)
        best_s = min(best_s, clock() - start)
    return 2 * size**3 / best_s, f"measured, {size}³ product in {str(dtype).removeprefix('torch.')}"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def uses_process_time(device: torch.device) -> bool:
    """Whether to measure process time, which excludes other work on the machine: with a single CPU thread."""
    return device.type == "cpu" and torch.get_num_threads() == 1
