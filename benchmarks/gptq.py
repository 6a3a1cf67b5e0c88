"""GPTQ against the record's form of it: seconds, equal codes, output error. ``python benchmarks/gptq.py --help``

The record's form (record-stack 1.5) is written here from its description: one matrix at a time, Cholesky of H, inverse,
upper Cholesky of the inverse, blocks of 128, a rank-one update of the block after every column. Weights are random,
inputs correlated; both sides get the same matrices, steps and threads, in one process, by turns.
"""

import argparse
import math
import time
from types import SimpleNamespace

import torch

from golf.ground import store
from golf.quant import grid, hessian, sdclip, solver

PLAN = SimpleNamespace(
    grid="row_sdclip", damp=0.01, block=128, matrix_bits=6, matrix_clip=12.85, embed_bits=8, embed_clip=20.0
)
SHAPES = {  # layers, width, kv width, mlp width, vocabulary
    "laptop-192": (6, 192, 96, 768, 2048),
    "laptop-256": (6, 256, 128, 1024, 2048),
    "record": (11, 512, 256, 2048, 8192),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), help=f"of {', '.join(SHAPES)}; all")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side; the fastest counts (3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    unknown = [name for name in asked.shapes if name not in SHAPES]
    if unknown:
        parser.error(f"unknown shape {unknown[0]}; one of {', '.join(SHAPES)}")
    torch.set_num_threads(asked.threads)
    rows = [compare(name, asked.repeat) for name in asked.shapes]
    print(f"{asked.threads} threads, fastest of {asked.repeat}")
    print(
        f"{'shapes':<12}{'tensors':>8}{'record s':>10}{'ours s':>9}{'ratio':>7}{'codes equal':>13}{'error ratio':>16}"
    )
    for row in rows:
        print(
            f"{row['shapes']:<12}{row['tensors']:>8}{row['record_s']:>10.3f}{row['ours_s']:>9.3f}{row['ratio']:>7.2f}"
            f"{row['codes_equal']:>13.5%}{row['error_ratio']:>16.6f}"
        )
    if asked.json:
        store.write_json(asked.json, {"threads": asked.threads, "repeat": asked.repeat, "rows": rows})


def compare(name: str, repeat: int) -> dict:
    weights, hessians, inputs = problem(*SHAPES[name])
    solver.quantize(*problem(1, 64, 32, 128, 512), PLAN)  # the libraries start their threads
    seconds = {"record": math.inf, "ours": math.inf}
    for _ in range(repeat):
        start = time.perf_counter()
        theirs = record(weights, hessians, inputs)
        seconds["record"] = min(seconds["record"], time.perf_counter() - start)
        start = time.perf_counter()
        ours = solver.quantize(weights, hessians, inputs, PLAN)
        seconds["ours"] = min(seconds["ours"], time.perf_counter() - start)
    equal = sum(int((ours[n].codes == theirs[n].codes).sum()) for n in inputs)
    errors = [sum(output_error(weights[n], q[n], hessians[inputs[n]]) for n in inputs) for q in (ours, theirs)]
    return {
        "shapes": name,
        "tensors": len(inputs),
        "record_s": seconds["record"],
        "ours_s": seconds["ours"],
        "ratio": seconds["record"] / seconds["ours"],
        "codes_equal": equal / sum(weights[n].numel() for n in inputs),
        "error_ratio": errors[0] / errors[1],
    }


def problem(layers: int, width: int, kv_width: int, mlp_width: int, vocabulary: int):
    """Random weights, Hessians of correlated inputs with spread scales, and who reads what."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"tok_emb.weight": (vocabulary, width)}
    for i in range(layers):
        block = f"blocks.{i}."
        shapes |= {block + "attn.c_q.weight": (width, width), block + "attn.proj.weight": (width, width)}
        shapes |= {block + "attn.c_k.weight": (kv_width, width), block + "attn.c_v.weight": (kv_width, width)}
        shapes |= {block + "mlp.fc.weight": (mlp_width, width), block + "mlp.proj.weight": (width, mlp_width)}
    weights = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    inputs = {name: hessian.source(name) for name in shapes}
    hessians = {}
    for name, source in inputs.items():
        columns = shapes[name][1]
        if source not in hessians:
            mix = torch.eye(columns) + torch.randn(columns, columns, generator=generator) / math.sqrt(columns)
            scale = torch.randn(columns, generator=generator).exp()
            x = torch.randn(2 * columns, columns, generator=generator) @ mix * scale
            hessians[source] = x.T @ x
    return weights, hessians, inputs


def record(weights, hessians, inputs) -> dict[str, grid.Quantized]:
    """The record's form, one matrix at a time."""
    found = {}
    for name, source in inputs.items():
        embed = name == grid.EMBED
        bits, clip = (PLAN.embed_bits, PLAN.embed_clip) if embed else (PLAN.matrix_bits, PLAN.matrix_clip)
        steps = sdclip.steps(weights[name], clip, bits)
        codes = record_one(weights[name], hessians[source], steps.float(), sdclip.largest(bits), PLAN.damp, PLAN.block)
        found[name] = grid.Quantized(codes, steps)
    return found


def record_one(w, h, steps, largest: int, damp: float, block: int) -> torch.Tensor:
    w, h = w.clone(), h.clone()
    diag = h.diagonal()
    dead = diag == 0
    diag[dead] = 1
    w[:, dead] = 0
    diag += damp * diag.mean()
    order = torch.argsort(h.diagonal(), descending=True)
    w, h = w[:, order], h[order][:, order]
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    codes = torch.zeros_like(w)
    for a in range(0, w.shape[1], block):
        b = min(a + block, w.shape[1])
        inside, pushed, u = w[:, a:b].clone(), torch.zeros(w.shape[0], b - a), upper[a:b, a:b]
        for j in range(b - a):
            code = torch.clamp(torch.round(inside[:, j] / steps), -largest, largest)
            codes[:, a + j] = code
            lost = (inside[:, j] - code * steps) / u[j, j]
            inside[:, j:] -= lost[:, None] * u[j, j:][None]
            pushed[:, j] = lost
        w[:, b:] -= pushed @ upper[a:b, b:]
    return codes[:, order.argsort()].to(torch.int8)


def output_error(w, quantized: grid.Quantized, h) -> float:
    """tr(E H Eᵀ)."""
    e = w - grid.dequantize(quantized)
    return float(((e @ h) * e).sum(dtype=torch.float64))


if __name__ == "__main__":
    main()
