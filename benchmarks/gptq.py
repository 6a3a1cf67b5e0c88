"""Compare GPTQ with a baseline: seconds, equal codes, output error. ``python benchmarks/gptq.py --help``

The baseline is GPTQ as in PR #1493 (docs/references.md#gptq), written here from its description: one matrix at
a time, Cholesky factor of H, its inverse, upper Cholesky factor of the inverse, blocks of 128 columns, and a rank-one
update of the block after every column. Weights are random and inputs correlated. Both sides get the same matrices,
scales and threads, in one process, in alternation.
"""

import argparse
import math
import time
from types import SimpleNamespace

import torch

from golf.artifacts import io
from golf.compression import quantized_tensor
from golf.quantization import hessians as quantization_hessians
from golf.quantization import row_scales, solver

QUANTIZE_CONFIG = SimpleNamespace(
    grid="row", damping_frac=0.01, block_size=128, matrix_bits=6, matrix_clip=12.85, embed_bits=8, embed_clip=20.0
)
MODEL_SHAPES = {  # n_layers, d_model, d_kv, d_ff, vocab_size
    "laptop-192": (6, 192, 96, 768, 2048),
    "laptop-256": (6, 256, 128, 1024, 2048),
    "record": (11, 512, 256, 2048, 8192),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=list(MODEL_SHAPES), help=f"of {', '.join(MODEL_SHAPES)} (all)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each side; the fastest counts (3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    unknown = [name for name in args.shapes if name not in MODEL_SHAPES]
    if unknown:
        parser.error(f"unknown shape {unknown[0]}; one of {', '.join(MODEL_SHAPES)}")
    torch.set_num_threads(args.threads)
    rows = [compare(name, args.repeat) for name in args.shapes]
    print(f"{args.threads} threads, fastest of {args.repeat}")
    print(f"{'shapes':<12}{'tensors':>8}{'base s':>10}{'ours s':>9}{'ratio':>7}{'codes equal':>13}{'error ratio':>16}")
    for row in rows:
        print(
            f"{row['shapes']:<12}{row['tensors']:>8}{row['baseline_s']:>10.3f}{row['ours_s']:>9.3f}{row['ratio']:>7.2f}"
            f"{row['codes_equal']:>13.5%}{row['error_ratio']:>16.6f}"
        )
    if args.json:
        io.write_json(args.json, {"threads": args.threads, "repeat": args.repeat, "rows": rows})


def compare(name: str, n_repeats: int) -> dict:
    weights, hessians, inputs = random_problem(*MODEL_SHAPES[name])
    solver.quantize_model(
        *random_problem(1, 64, 32, 128, 512), QUANTIZE_CONFIG, {}
    )  # starts the threads of the libraries
    seconds = {"baseline": math.inf, "ours": math.inf}
    for _ in range(n_repeats):
        start = time.perf_counter()
        baseline = baseline_quantize(weights, hessians, inputs)
        seconds["baseline"] = min(seconds["baseline"], time.perf_counter() - start)
        start = time.perf_counter()
        ours = solver.quantize_model(weights, hessians, inputs, QUANTIZE_CONFIG, {})
        seconds["ours"] = min(seconds["ours"], time.perf_counter() - start)
    n_equal = sum(int((ours[n].codes == baseline[n].codes).sum()) for n in inputs)
    errors = [
        sum(compute_output_error(weights[n], q[n], hessians[inputs[n]]) for n in inputs) for q in (ours, baseline)
    ]
    return {
        "shapes": name,
        "tensors": len(inputs),
        "baseline_s": seconds["baseline"],
        "ours_s": seconds["ours"],
        "ratio": seconds["baseline"] / seconds["ours"],
        "codes_equal": n_equal / sum(weights[n].numel() for n in inputs),
        "error_ratio": errors[0] / errors[1],
    }


def random_problem(n_layers: int, d_model: int, d_kv: int, d_ff: int, vocab_size: int):
    """Random weights, Hessians of correlated inputs of different scales, and the input name of each tensor."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"tok_emb.weight": (vocab_size, d_model)}
    for i in range(n_layers):
        block = f"blocks.{i}."
        shapes |= {block + "attn.c_q.weight": (d_model, d_model), block + "attn.proj.weight": (d_model, d_model)}
        shapes |= {block + "attn.c_k.weight": (d_kv, d_model), block + "attn.c_v.weight": (d_kv, d_model)}
        shapes |= {block + "mlp.fc.weight": (d_ff, d_model), block + "mlp.proj.weight": (d_model, d_ff)}
    weights = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    inputs = {name: quantization_hessians.get_input_name(name) for name in shapes}
    hessians = {}
    for name, source in inputs.items():
        n_columns = shapes[name][1]
        if source not in hessians:
            mix = torch.eye(n_columns) + torch.randn(n_columns, n_columns, generator=generator) / math.sqrt(n_columns)
            scale = torch.randn(n_columns, generator=generator).exp()
            x = torch.randn(2 * n_columns, n_columns, generator=generator) @ mix * scale
            hessians[source] = x.T @ x
    return weights, hessians, inputs


def baseline_quantize(weights, hessians, inputs) -> dict[str, quantized_tensor.QuantizedTensor]:
    """The baseline, one matrix at a time."""
    quantized = {}
    for name, source in inputs.items():
        is_embed = name == quantized_tensor.EMBEDDING_WEIGHT
        bits, clip = (
            (QUANTIZE_CONFIG.embed_bits, QUANTIZE_CONFIG.embed_clip)
            if is_embed
            else (QUANTIZE_CONFIG.matrix_bits, QUANTIZE_CONFIG.matrix_clip)
        )
        scales = row_scales.compute_sdclip_scales(weights[name], clip, bits)
        codes = baseline_gptq(
            weights[name],
            hessians[source],
            scales.float(),
            row_scales.compute_max_code(bits),
            QUANTIZE_CONFIG.damping_frac,
            QUANTIZE_CONFIG.block_size,
        )
        quantized[name] = quantized_tensor.QuantizedTensor(codes, scales)
    return quantized


def baseline_gptq(w, h, scales, max_code: int, damping_frac: float, block_size: int) -> torch.Tensor:
    w, h = w.clone(), h.clone()
    diag = h.diagonal()
    dead = diag == 0
    diag[dead] = 1
    w[:, dead] = 0
    diag += damping_frac * diag.mean()
    permutation = torch.argsort(h.diagonal(), descending=True)
    w, h = w[:, permutation], h[permutation][:, permutation]
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    codes = torch.zeros_like(w)
    for a in range(0, w.shape[1], block_size):
        b = min(a + block_size, w.shape[1])
        block_w, block_errors, u = w[:, a:b].clone(), torch.zeros(w.shape[0], b - a), upper[a:b, a:b]
        for j in range(b - a):
            code = torch.clamp(torch.round(block_w[:, j] / scales), -max_code, max_code)
            codes[:, a + j] = code
            error = (block_w[:, j] - code * scales) / u[j, j]
            block_w[:, j:] -= error[:, None] * u[j, j:][None]
            block_errors[:, j] = error
        w[:, b:] -= block_errors @ upper[a:b, b:]
    return codes[:, permutation.argsort()].to(torch.int8)


def compute_output_error(w, quantized: quantized_tensor.QuantizedTensor, h) -> float:
    """tr(E H Eᵀ)."""
    e = w - quantized_tensor.dequantize(quantized)
    return float(((e @ h) * e).sum(dtype=torch.float64))


if __name__ == "__main__":
    main()
