"""Rival quantizers on golf's own weights: bytes, divergence and bpb of each, in its own container and with our coder.

    PYTHONPATH=. python benchmarks/quantizers.py RUNS/laptop-314 --json benchmarks/results/quantizers.json

RUN is the artifacts folder of fetch, train, ema and calibrate (``rate_distortion``). All quantizers get the same
matrices and leave the same small tensors to fp16. KL(full precision ‖ quantized) is in nats per token over plain
windows of val; the increase in bpb has its paired interval over documents. ``ratio`` is our bytes over the rival's at
the rival's divergence; it is absent where our curve does not reach there.

The libraries are in the extra ``rivals`` of pyproject.toml. A rival whose library is missing says NOT-RUN. ggml's
K formats need rows of multiples of 256, which the default model does not have.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from divergence import DivergenceScorer, PointCache
from rate_curves import Curve, compare_bytes, format_ratio
from rate_distortion import BASE_STEPS, MeasuredRun
from rival_quantizers import (
    Quantized,
    quantize_ggml,
    quantize_gptq,
    quantize_hqq,
    quantize_int_zstd,
    quantize_nf4,
    quantize_nncodec,
)

from golf.artifacts import io
from golf.compression import writer
from golf.evaluation.significance import PairedDifference
from golf.quantization import gptq

GROUP_SIZES = (32, 64)
NNC_QPS = (-24, -20, -18, -16, -12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="artifacts folder; see the module's docstring")
    parser.add_argument("--ours", default="rows", metavar="RECIPE", help="recipe of rate_distortion (%(default)s)")
    parser.add_argument("--damping-frac", type=float, default=0.01, help="of the Hessian's mean diagonal (%(default)s)")
    parser.add_argument("--tokens", type=int, help="tokens of val to score (all)")
    parser.add_argument("--device", default="cpu", help="for scoring (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("runs/quantizers.jsonl"), help="(%(default)s)")
    parser.add_argument("--json", help="also write the points here")
    parser.add_argument("--png", type=Path, help="also draw bytes against divergence here")
    args = parser.parse_args()
    args.codecs = ["ans"]
    run = MeasuredRun(args.run, PointCache(args.cache), args)
    reference = run.measure("full precision", None, "val")
    ours = [run.measure(args.ours, step, "val") for step in BASE_STEPS]
    our_curve = Curve(np.array([p["bytes"]["ans"] for p in ours]), np.array([p["kl"] for p in ours]))
    rows = [make_row("golf", p["setting"], {"ours": p["bytes"]["ans"]}, 0.0, p, reference, our_curve) for p in ours]
    scorer = DivergenceScorer(run.artifacts, args.run, "val", args.tokens, args.device)
    for name, setting, quantize in list_rivals(run):
        try:
            rows.append(measure_rival(run, scorer, name, setting, quantize, reference, our_curve))
        except ModuleNotFoundError as error:
            print(f"{name:<18} {setting:<10} NOT-RUN: {error.name} is not installed", flush=True)
            rows.append({"quantizer": name, "setting": setting, "not_run": f"{error.name} is not installed"})
    if args.json:
        io.write_json(args.json, {"threads": torch.get_num_threads(), "weights": run.n_weights, "rows": rows})
    if args.png:
        draw(rows, args.png)


def list_rivals(run: MeasuredRun) -> list[tuple[str, str, Callable[[], Quantized]]]:
    """(name, setting, function) of each point."""
    weights = {name: run.artifacts.state_dict[name].float() for name in run.artifacts.input_names}
    factors = {
        name: gptq.factorize(run.artifacts.hessians[input_name][None].clone(), run.args.damping_frac)
        for name, input_name in run.artifacts.input_names.items()
    }
    rivals = [
        (f"nncodec {kind}", f"qp {qp}", lambda qp=qp, dq=dq: quantize_nncodec(weights, qp, dependent=dq))
        for kind, dq in (("dependent", True), ("uniform", False))
        for qp in NNC_QPS
    ]
    rivals += [
        (f"GPTQ g{size}", f"int{bits}", lambda bits=bits, size=size: quantize_gptq(weights, factors, bits, size))
        for size in GROUP_SIZES
        for bits in (4, 3, 2)
    ]
    rivals += [("HQQ g64", f"int{bits}", lambda bits=bits: quantize_hqq(weights, bits, 64)) for bits in (8, 4, 3, 2)]
    rivals += [
        ("ggml", name, lambda name=name: quantize_ggml(weights, name))
        for name in ("Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")
    ]
    rivals += [("NF4", f"block {size}", lambda size=size: quantize_nf4(weights, size)) for size in (32, 64, 192)]
    rivals += [
        ("int + zstd", f"int{bits}", lambda bits=bits: quantize_int_zstd(weights, bits)) for bits in (8, 6, 5, 4)
    ]
    return rivals


def measure_rival(
    run: MeasuredRun,
    scorer: DivergenceScorer,
    name: str,
    setting: str,
    quantize: Callable[[], Quantized],
    reference: dict,
    our_curve: Curve,
) -> dict:
    """Quantize, pack in both ways, and score."""
    begin = time.perf_counter()
    quantized = quantize()
    seconds = time.perf_counter() - begin
    small = {key: tensor.half() for key, tensor in run.artifacts.unquantized.items()}
    sizes = {"own": quantized.own_bytes + pack(run, small)}
    if quantized.stored is not None:
        sizes["ours"] = pack(run, small | quantized.stored)
    point = scorer.score(quantized.weights | {key: tensor.float() for key, tensor in small.items()})
    return make_row(name, setting, sizes, seconds, point, reference, our_curve)


def pack(run: MeasuredRun, tensors: dict[str, torch.Tensor]) -> int:
    options = {"upstream_splits": ("train",), "codec": "ans", "brotli_quality": 11}
    return len(writer.pack(tensors, run.artifacts.model_cfg, **options))


def make_row(
    name: str, setting: str, sizes: dict[str, int], seconds: float, point: dict, reference: dict, our_curve: Curve
) -> dict:
    """Print and return one point. The ratio is that of our bytes to the smaller of the rival's two sizes."""
    tokens_D, bytes_D = np.array(reference["tokens"]), np.array(reference["target_bytes"], np.int64)
    kl_D = np.array(point["kl"])
    change = PairedDifference(np.array(point["bits"]) - np.array(reference["bits"]), bytes_D).bpb_difference
    best = min(sizes.values())
    ratio = compare_bytes(our_curve, Curve(np.array([best, best + 1]), np.stack([kl_D, kl_D])), kl_D, tokens_D)
    row = {
        "quantizer": name,
        "setting": setting,
        "bytes": sizes,
        "seconds": round(seconds, 2),
        "kl": float(kl_D.sum() / tokens_D.sum()),
        "bpb_increase": change.value,
        "half_width": change.half_width,
        "ratio": dataclasses.asdict(ratio),
    }
    text = ", ".join(f"{kind} {size:,}" for kind, size in sizes.items())
    ratio_text = "" if name == "golf" else f"  ratio {format_ratio(ratio)}"
    print(f"{name:<18} {setting:<10} KL {row['kl']:.3e}  bpb {change.value:+.4f}  {text}{ratio_text}", flush=True)
    return row


def draw(rows: list[dict], path: Path) -> None:
    """Draw the smaller size of each point against its divergence, both on log scales."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, points in io.group_by([row for row in rows if "bytes" in row], "quantizer").items():
        points = sorted(points, key=lambda row: min(row["bytes"].values()))
        sizes, kl = [min(row["bytes"].values()) for row in points], [row["kl"] for row in points]
        axes.plot(sizes, kl, marker="o", linewidth=2.5 if name == "golf" else 1, label=name)
    axes.set(xscale="log", yscale="log", xlabel="bytes of the file", ylabel="KL from full precision, nats per token")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    main()
