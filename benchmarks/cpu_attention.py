"""Compare bf16 attention on a CPU, forward and backward: the baseline's and ours.

``python benchmarks/cpu_attention.py --help``. The baseline passes bf16 to torch's kernel. Ours
(golf/model/attention.py) computes full score matrices for short contexts, and casts to fp32 and back around that kernel
for long ones, which is measured too.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from golf.artifacts import io
from golf.model.attention import get_attention


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--kv-heads", type=int, default=3)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=10, help="repetitions of each side; the fastest counts (10)")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    head_counts = (args.heads, args.kv_heads, args.kv_heads)
    shapes = [(args.rows, args.context, heads, args.head_dim) for heads in head_counts]
    qkv = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
    implementations = {"baseline": baseline_attention, "fp32": fp32_attention, "ours": get_attention("sdpa")}
    if not args.eager:
        implementations = {
            name: torch.compile(attend, fullgraph=True, dynamic=False) for name, attend in implementations.items()
        }
    best_s = dict.fromkeys(implementations, float("inf"))
    for _ in range(args.repeat + 1):
        for name, attend in implementations.items():
            start = time.perf_counter()
            attend(*qkv).sum().backward()
            best_s[name] = min(best_s[name], time.perf_counter() - start)
    row = {**vars(args), "threads": torch.get_num_threads(), **best_s, "ratio": best_s["baseline"] / best_s["ours"]}
    print(
        f"{row['threads']} threads, {shapes[0]}: bf16 {1e3 * best_s['baseline']:.1f} ms, "
        f"fp32 and back {1e3 * best_s['fp32']:.1f} ms, ours {1e3 * best_s['ours']:.1f} ms, ratio {row['ratio']:.2f}"
    )
    if args.json:
        io.write_json(args.json, row)


def baseline_attention(q, k, v):
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True).transpose(1, 2)


def fp32_attention(q, k, v):
    return baseline_attention(q.float(), k.float(), v.float()).to(q.dtype)


if __name__ == "__main__":
    main()
