"""Exchange small JSON values between the ranks of a process group."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golf.distributed.context import DistContext

__all__ = ["gather_json"]


def gather_json(value: Any, ctx: "DistContext") -> list[Any]:
    """Return the values of all ranks, by rank."""
    import torch
    import torch.distributed as dist

    if ctx.world_size == 1:
        return [value]
    encoded = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64, device=ctx.device) for _ in range(ctx.world_size)]
    dist.all_gather(sizes, torch.tensor([len(encoded)], device=ctx.device))
    max_size = max(int(size) for size in sizes)
    padded = torch.nn.functional.pad(encoded, (0, max_size - len(encoded))).to(ctx.device)
    gathered = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return [json.loads(bytes(part[: int(n)].tolist())) for part, n in zip(gathered, sizes, strict=True)]
