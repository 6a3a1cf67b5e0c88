"""One process among its ranks: rank, device, precision, sums over ranks; ``golf.distributed.device`` finds out which."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

FLASH_MODULES = {"flash4": "flash_attn.cute", "flash3": "flash_attn_interface", "flash2": "flash_attn"}  # best first


@dataclass(frozen=True)
class DistContext:
    """One process's view of the machine. ``note`` says what ``auto`` chose and why."""

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

    def autocast(self):
        """Matrix products in ``dtype``; weights stay fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def maybe_compile(self, function):
        """``function`` as one full graph of static shapes, or itself where compile is off."""
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compile else function

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """In place: the sum over ranks."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_coalesced(self, tensors: list[torch.Tensor]) -> None:
        """In place: each tensor's sum over ranks, by one reduction of one flat buffer."""
        self.all_reduce_coalesced_async(tensors)()

    def all_reduce_coalesced_async(self, tensors: list[torch.Tensor]) -> Callable[[], None]:
        """``sum_flat`` under way when this returns; the call that it returns waits and puts the sums in place."""
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
        """The largest of the ranks' numbers, the same on every rank."""
        if self.world_size == 1:
            return value
        buffer = torch.tensor(value, dtype=torch.float64)  # on the CPU: the device's queue goes on
        dist.all_reduce(buffer, op=dist.ReduceOp.MAX)
        return buffer.item()

    def synchronize(self) -> None:
        """Wait for the work that this process has queued on its device, so that a clock sees it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def single_process(device: str = "cpu", dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> DistContext:
    """One eager process; what tests and small tools use."""
    return DistContext(0, 1, torch.device(device), dtype, False, attention)
