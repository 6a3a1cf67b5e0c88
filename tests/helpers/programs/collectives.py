"""One of two ranks: print what the collectives of a DistContext return. Arguments: rendezvous file, rank."""

import dataclasses
import os
import sys

import torch
import torch.distributed as dist

from golf.config import loader
from golf.distributed import device, machine_probe
from golf.model.attention_backends import resolve_attention
from tests.helpers.tiny_corpus import ROOT


def main(rendezvous: str, rank: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    section = loader.load_config(ROOT / "profiles" / "laptop.yaml").ema
    section = dataclasses.replace(section, device="cpu", compile="auto", dtype="auto", attention="sdpa")
    device.find_missing_compiler = lambda device: None
    machine_probe.measure_bf16_speedup = lambda: 1.0 + rank  # rank 0 alone is too slow, and rank 1 alone can't compile
    machine_probe.find_compile_problem = lambda device: "no disk" if rank else None
    ctx = device.init_context(section, "ema", resolve_attention)
    factor = ctx.rank + 1
    tensors = [torch.full((2, 3), float(factor)), torch.empty(0), torch.arange(4.0).reshape(2, 2).t() * factor]
    ctx.all_reduce_coalesced_async(tensors)()
    results = [
        ctx.world_size,
        tensors[0].tolist(),
        tensors[1].shape[0],
        tensors[2].tolist(),
        ctx.all_reduce_max(factor / 2),
        ctx.all_reduce(torch.tensor([factor])).item(),
        ctx.description.endswith("2 ranks"),
        ctx.dtype,
        ctx.compile,
    ]
    print(*results, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
