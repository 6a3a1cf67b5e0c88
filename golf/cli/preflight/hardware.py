"""The machines of a forecast: peak rates from data sheets, and fractions of them that published runs reach.

A step's time is that of its matrix products plus that of the bytes it moves, as a roofline without overlap has it:

    FLOP / (matmul_frac · peak) + moved bytes / bandwidth + fixed seconds,    moved bytes = passes · kept activations.

The four constants of the GPUs were fitted to the published milliseconds of PR #1394 (101.8 and 140, before and after
recurrence starts, 15 layer passes) and of PR #1493 (102 and 151, 17 passes), both on 8×H100 SXM
(docs/references.md#preflight). One CPU's rates are measured when the forecast is made.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["HARDWARE", "Hardware", "measure_cpu"]

_GPU_SOURCE = "fitted to PR #1394's 101.8 and 140 ms and PR #1493's 102 and 151 ms a step on 8×H100 SXM"
_CPU_SOURCE = "rates of one core measured now, times {n_threads} threads; fractions fitted to "
_CPU_SOURCE += "benchmarks/results/train_step.laptop.cpu-2-threads.json, 139.8 ms for 2,048 tokens"
_MEASURED_S = 0.15  # processor time for each rate
_COPY_BYTES = 64 << 20  # beyond the caches of one core
_MATMUL_ROWS, _MATMUL_WIDTH = 2048, 768


@dataclass(frozen=True)
class Hardware:
    """name: as on the command line. n_devices: of the machine, one rank each.

    peak_flops: FLOP/s of one device's dense products. bytes_per_s: its memory's. memory_bytes: None: unknown.
    matmul_frac: share of the peak that the products of a training step reach. passes: times that each byte of an
    activation that is kept for the backward pass crosses memory, forward and backward together. fixed_s: of a step,
    whatever its size. source: where the constants are from.
    """

    name: str
    n_devices: int
    is_gpu: bool
    peak_flops: float
    bytes_per_s: float
    memory_bytes: float | None
    matmul_frac: float
    passes: float
    fixed_s: float
    source: str


def _gpu(name: str, n_devices: int, peak_flops: float, bytes_per_s: float, note: str = "") -> Hardware:
    return Hardware(
        name,
        n_devices,
        is_gpu=True,
        peak_flops=peak_flops,
        bytes_per_s=bytes_per_s,
        memory_bytes=80e9,
        matmul_frac=0.65,
        passes=6.6,
        fixed_s=0.005,
        source=_GPU_SOURCE + note,
    )


HARDWARE = {  # dense bf16 FLOP/s and bytes/s from NVIDIA's data sheets of the SXM modules with 80 GB
    "h100x8": _gpu("h100x8", 8, 989.4e12, 3.35e12),
    "h100": _gpu("h100", 1, 989.4e12, 3.35e12, "; no published run on one H100 was compared"),
    "a100": _gpu("a100", 1, 312e12, 2.04e12, "; carried over to the A100's data sheet, no published run was compared"),
}


def measure_cpu(dtype: torch.dtype) -> Hardware:
    """Return this machine's CPU with the measured rates of its products in ``dtype`` and of its memory.

    Processor time of one core counts, so that other busy processes change little; it takes half a second.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x = torch.randn(_MATMUL_ROWS, _MATMUL_WIDTH).to(dtype)
        w = torch.randn(_MATMUL_WIDTH, _MATMUL_WIDTH).to(dtype)
        source = torch.zeros(_COPY_BYTES // 4)
        target = torch.empty_like(source)
        product_s = _time_best(lambda: torch.mm(x, w))
        copy_s = _time_best(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(n_threads)
    flops = 2 * _MATMUL_ROWS * _MATMUL_WIDTH**2 / product_s
    return Hardware(
        "cpu",
        1,
        is_gpu=False,
        peak_flops=n_threads * flops,
        bytes_per_s=n_threads * 2 * _COPY_BYTES / copy_s,  # read and written
        memory_bytes=_read_memory_bytes(),
        matmul_frac=0.5,
        passes=12.0,
        fixed_s=0.0,
        source=_CPU_SOURCE.format(n_threads=n_threads),
    )


def _time_best(work: Callable[[], object]) -> float:
    """Processor seconds of the fastest call."""
    work()
    best_s, started_at = float("inf"), time.thread_time()
    while time.thread_time() - started_at < _MEASURED_S:
        begin = time.thread_time()
        work()
        best_s = min(best_s, time.thread_time() - begin)
    return best_s


def _read_memory_bytes() -> float | None:
    import psutil

    return float(psutil.virtual_memory().total)
