"""The execution context of one process: rank, device, precision and collectives.

``golf.distributed.device`` creates it from a section of params.yaml.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["DistContext", "single_process"]


@dataclass(frozen=True)
class DistContext:
    """What one process runs on. ``description`` says what each ``auto`` resolved to and why."""

    rank: int
    world_size: int
    device: torch.device
    dtype: torch.dtype
    compile: bool
    attention: str
    description: str = ""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Run matrix products in ``dtype``; weights stay fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def maybe_compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``function`` as one full graph of static shapes; return it unchanged when compilation is off."""
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compile else function

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum ``tensor`` over ranks in place, and return it.

        tensor: contiguous, of the same shape and dtype on every rank; every rank must call this, in the same order. The
        result is the same on every rank. A single rank's tensor stays as it is.
        """
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_coalesced_async(self, tensors: list[torch.Tensor]) -> Callable[[], None]:
        """Start summing each tensor over ranks, by one reduction of one flat buffer.

        The returned function waits for it and writes the sums into the tensors.
        """
        if self.world_size == 1 or not tensors:
            return lambda: None
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        work = dist.all_reduce(flat, async_op=True)

        def wait() -> None:
            work.wait()
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

        return wait

    def all_reduce_max(self, value: float) -> float:
        """Return the largest of the ranks' values; every rank gets the same."""
        if self.world_size == 1:
            return value
        buffer = torch.tensor(value, dtype=torch.float64)  # on the CPU, so that the device's queue keeps running
        dist.all_reduce(buffer, op=dist.ReduceOp.MAX)
        return buffer.item()

    def synchronize(self) -> None:
        """Wait for the work that this process has queued on its device, so that a timer includes it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def single_process(device: str = "cpu", dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> DistContext:
    """Return the context of one uncompiled process, for tests and small tools."""
    return DistContext(0, 1, torch.device(device), dtype, False, attention)
