"""Check what this machine offers: how fast its CPU multiplies bf16, and whether torch.compile works."""

import math
import re
import secrets
import time

import torch
import torch.nn.functional as F

__all__ = ["find_compile_problem", "measure_bf16_speedup", "summarize_compile_error"]

_MATMUL_ROWS, _MATMUL_WIDTH, _MATMUL_FF = 256, 192, 768  # the MLP of profiles/laptop.yaml on one of its windows
_MAX_REPETITIONS, _MAX_MEASUREMENT_S = 10, 0.015
_UNHELPFUL_LINES = re.compile(
    r"backend='\w+' raised:|Set TORCHDYNAMO_VERBOSE|(Command|Output):?$|\S*C\+\+ compile error$"
)
_MAX_REASON_CHARS = 200


@torch.no_grad()
def measure_bf16_speedup() -> float:
    """Return how many times as fast as fp32 products one core of this CPU computes bf16 ones.

    Processor time counts, and the fastest of a few repetitions, so that other busy processes change little. It takes
    20 ms.
    """
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, _MATMUL_WIDTH, generator=generator) for n in (_MATMUL_ROWS, _MATMUL_FF))
    operands = {dtype: (x.to(dtype), w.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    best_s = dict.fromkeys(operands, math.inf)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other would count as work
    try:
        for pair in operands.values():
            F.linear(*pair)  # the first product of a shape generates its kernel
        started_at, n_repetitions = time.thread_time(), 0
        while n_repetitions < _MAX_REPETITIONS and time.thread_time() - started_at < _MAX_MEASUREMENT_S:
            for dtype, pair in operands.items():
                begin = time.thread_time()
                F.linear(*pair)
                best_s[dtype] = min(best_s[dtype], time.thread_time() - begin)
            n_repetitions += 1
    finally:
        torch.set_num_threads(n_threads)
    return best_s[torch.float32] / best_s[torch.bfloat16]


def find_compile_problem(device: torch.device) -> str | None:
    """Compile a small function with its gradient on ``device`` and run both; return why that failed, None if it works.

    The function holds a random constant, so that no cache can answer for a compiler that does not work any more. Its
    gradient is constant, so that the compiler is called once, which takes a second.
    """
    offset = secrets.randbelow(1 << 20)

    def add_offset_to_sum(x: torch.Tensor) -> torch.Tensor:
        return x.sum() + offset

    x = torch.ones(64, device=device, requires_grad=True)
    try:
        result = torch.compile(add_offset_to_sum, fullgraph=True, dynamic=False)(x)
        result.backward()
    except Exception as error:  # whatever a compiler, a linker, a cache folder or torch itself may raise
        return summarize_compile_error(error)
    if result.item() != len(x) + offset or x.grad is None or not (x.grad == 1).all():
        return "a compiled function gave a wrong result"
    return None


def summarize_compile_error(error: BaseException) -> str:
    """Return the first useful line of the compiler's message: an error line of its output, where there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not _UNHELPFUL_LINES.match(line)]
    reason = next((line for line in useful if "error:" in line), useful[0] if useful else type(error).__name__)
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[: _MAX_REASON_CHARS - 1]}…"
