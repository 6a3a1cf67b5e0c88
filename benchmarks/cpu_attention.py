"""CPU attention, forward and backward, of bf16 queries. ``python benchmarks/cpu_attention.py --help``

The record's form hands bf16 to torch's kernel. Ours (golf/model/attention.py) takes whole score matrices where contexts
are short, and beyond goes to fp32 and back around that kernel, which is measured beside it.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from golf.ground import store
from golf.model.attention import door


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--kv-heads", type=int, default=3)
    parser.add_argument("--head-width", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=10, help="turns of each side; the fastest counts (10)")
    parser.add_argument("--eager", action="store_true", help="compile no side")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    widths = (asked.heads, asked.kv_heads, asked.kv_heads)
    shapes = [(asked.rows, asked.context, heads, asked.head_width) for heads in widths]
    qkv = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
    sides = {"record": record, "fp32": fp32, "ours": door("sdpa")}
    if not asked.eager:
        sides = {name: torch.compile(attend, fullgraph=True, dynamic=False) for name, attend in sides.items()}
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(asked.repeat + 1):
        for name, attend in sides.items():
            start = time.perf_counter()
            attend(*qkv).sum().backward()
            best[name] = min(best[name], time.perf_counter() - start)
    row = {**vars(asked), "threads": torch.get_num_threads(), **best, "ratio": best["record"] / best["ours"]}
    print(
        f"{row['threads']} threads, {shapes[0]}: bf16 {1e3 * best['record']:.1f} ms, "
        f"fp32 and back {1e3 * best['fp32']:.1f} ms, ours {1e3 * best['ours']:.1f} ms, ratio {row['ratio']:.2f}"
    )
    if asked.json:
        store.write_json(asked.json, row)


def record(q, k, v):
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True).transpose(1, 2)


def fp32(q, k, v):
    return record(q.float(), k.float(), v.float()).to(q.dtype)


if __name__ == "__main__":
    main()
