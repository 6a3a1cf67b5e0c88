"""Rival quantizers on golf's own weights: bytes, divergence and bpb of each, in its own container and with our coder.

    PYTHONPATH=. python benchmarks/quantizers.py RUNS/laptop-314 --json benchmarks/results/quantizers.json

RUN is the artifacts folder of fetch, train, ema and calibrate (``rate_distortion``). All quantizers get the same
matrices and leave the same small tensors to fp16. KL(full precision ‖ quantized) is in nats per token over plain
windows of val; the increase in bpb has its paired interval over documents. ``ratio`` is the bytes of golf's trellis
codes over the smaller of the rival's two sizes, at the rival's divergence, with its interval over documents; it is
absent where golf's points do not enclose that divergence.

The libraries are in the extra ``rivals`` of pyproject.toml. A rival whose library is missing says NOT-RUN.

ggml's K formats need ggml's C functions: with --ggml LIBRARY the script compares these formats alone, with and without
an importance matrix (the Hessian's diagonal), each matrix as one long row, as the default model's rows are no multiples
of 256. Any build of ggml has the functions in its base library; two files of the source package ggml-python suffice:

    gcc -O3 -shared -fPIC -D_GNU_SOURCE -DGGML_VERSION='""' -DGGML_COMMIT='""' -Iinclude -Isrc \\
        src/ggml-quants.c src/ggml.c -lm -Wl,--defsym=ggml_critical_section_start=ggml_abort \\
        -Wl,--defsym=ggml_critical_section_end=ggml_abort -Wl,--defsym=ggml_backend_tensor_set=ggml_abort \\
        -Wl,--defsym=ggml_backend_tensor_memset=ggml_abort -o libggml.so
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from divergence import DivergenceScorer
from rate_curves import Curve, compare_bytes, format_ratio
from rival_quantizers import (
    GGML_K_BLOCK_BYTES,
    Quantized,
    quantize_ggml,
    quantize_ggml_k,
    quantize_gptq,
    quantize_hqq,
    quantize_int_zstd,
    quantize_nf4,
    quantize_nncodec,
)
from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.compression import quantized_tensor, writer
from golf.evaluation.significance import PairedDifference
from golf.quantization import codes_io, gptq, solver
from golf.quantization.trellis import Coding

BASE_STEPS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
CODINGS = {  # those of the default profile, and scalar codes with the same rate term
    "golf, trellis": Coding(trellis_states=8, rate_weight=0.05),
    "golf, scalar": Coding(trellis_states=None, rate_weight=0.05),
}
DAMPING_FRAC, BLOCK_SIZE = 0.01, 128
GROUP_SIZES = (32, 64)
NNC_QPS = (-24, -20, -18, -16, -12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="artifacts folder; see the module's docstring")
    parser.add_argument("--tokens", type=int, help="tokens of the split to score (all)")
    parser.add_argument("--split", choices=("dev", "val"), default="val", help="to score (%(default)s)")
    parser.add_argument(
        "--base-steps", nargs="+", type=float, default=BASE_STEPS, metavar="STEP", help="of golf's codes"
    )
    parser.add_argument("--ggml", type=Path, metavar="LIBRARY", help="compare ggml's K formats alone")
    parser.add_argument("--json", help="also write the points here")
    parser.add_argument("--png", type=Path, help="also draw bytes against divergence here")
    args = parser.parse_args()
    run = RunArtifacts.load(args.run)
    scorer = DivergenceScorer(run, args.run, args.split, args.tokens, "cpu")
    table = Table(run, scorer)
    for name in CODINGS if args.ggml is None else ["golf, trellis"]:
        table.add_golf(name, args.base_steps)
    for name, setting, quantize in list_ggml_k(run, args.ggml) if args.ggml else list_rivals(run):
        table.add_rival(name, setting, quantize)
    if args.json:
        n_weights = sum(run.state_dict[name].numel() for name in run.input_names)
        n_tokens = int(sum(table.reference["tokens"]))
        io.write_json(args.json, {"weights": n_weights, "tokens": n_tokens, "rows": table.rows})
    if args.png:
        draw(table.rows, args.png)


class Table:
    """The points measured so far. Golf's trellis codes come first, as ratios are to their curve."""

    def __init__(self, run: RunArtifacts, scorer: DivergenceScorer) -> None:
        self._run, self._scorer, self.rows = run, scorer, list[dict]()
        self.reference = scorer.score(run.state_dict)
        self._curve: Curve | None = None
        self._batches = solver.build_batches(run.state_dict, run.hessians, run.input_names, DAMPING_FRAC)
        self._column_scales = solver.compute_column_scales(self._batches, run.state_dict, run.sensitivity)

    def add_golf(self, name: str, base_steps: Sequence[float]) -> None:
        """Add golf's codes at each base step."""
        points = []
        for base_step in base_steps:
            begin = time.perf_counter()
            quantized = solver.quantize_with_column_scales(
                self._batches, self._run.state_dict, self._column_scales, base_step, BLOCK_SIZE, CODINGS[name]
            )
            seconds = time.perf_counter() - begin
            stored = codes_io.to_storage(quantized, self._run.unquantized)
            size = self._pack(stored, CODINGS[name].trellis_states)
            score = self._scorer.score(quantized_tensor.dequantize_state_dict(stored))
            points.append((f"step {base_step:g}", {"own": size}, seconds, score))
        if self._curve is None:
            self._curve = Curve(np.array([p[1]["own"] for p in points]), np.array([p[3]["kl"] for p in points]))
        for point in points:
            self._add(name, *point)

    def add_rival(self, name: str, setting: str, quantize: Callable[[], Quantized]) -> None:
        """Quantize, pack in both ways, and score; NOT-RUN without the rival's library."""
        begin = time.perf_counter()
        try:
            quantized = quantize()
        except ModuleNotFoundError as error:
            print(f"{name:<18} {setting:<10} NOT-RUN: {error.name} is not installed", flush=True)
            self.rows.append({"quantizer": name, "setting": setting, "not_run": f"{error.name} is not installed"})
            return
        seconds = time.perf_counter() - begin
        small = {key: tensor.half() for key, tensor in self._run.unquantized.items()}
        sizes = {"own": quantized.own_bytes + self._pack(small)}
        if quantized.stored is not None:
            sizes["our coder"] = self._pack(small | quantized.stored)
        score = self._scorer.score(quantized.weights | {key: tensor.float() for key, tensor in small.items()})
        self._add(name, setting, sizes, seconds, score)

    def _pack(self, tensors: dict[str, torch.Tensor], trellis_states: int | None = None) -> int:
        options = {"codec": "ans", "brotli_quality": 11, "trellis_states": trellis_states}
        return len(writer.pack(tensors, self._run.model_cfg, upstream_splits=("train",), **options))

    def _add(self, name: str, setting: str, sizes: dict[str, int], seconds: float, score: dict) -> None:
        tokens_D = np.array(self.reference["tokens"])
        bytes_D, kl_D = np.array(self.reference["target_bytes"], np.int64), np.array(score["kl"])
        change = PairedDifference(np.array(score["bits"]) - np.array(self.reference["bits"]), bytes_D).bpb_difference
        best = min(sizes.values())
        rival = Curve(np.array([best, best + 1]), np.stack([kl_D, kl_D]))  # one point, met at its own divergence
        assert self._curve is not None
        ratio = compare_bytes(self._curve, rival, kl_D, tokens_D)
        row = {"quantizer": name, "setting": setting, "bytes": sizes, "seconds": round(seconds, 2)}
        row |= {"kl": float(kl_D.sum() / tokens_D.sum()), "ratio": dataclasses.asdict(ratio)}
        self.rows.append(row | {"bpb_increase": change.value, "half_width": change.half_width})
        text = ", ".join(f"{kind} {size:,}" for kind, size in sizes.items())
        figures = f"KL {row['kl']:.3e}  bpb {change.value:+.4f}  ratio {format_ratio(ratio)}"
        print(f"{name:<18} {setting:<10} {figures}  {text}", flush=True)


def list_rivals(run: RunArtifacts) -> list[tuple[str, str, Callable[[], Quantized]]]:
    """(name, setting, function) of each point."""
    weights = {name: run.state_dict[name].float() for name in run.input_names}
    factors = {
        name: gptq.factorize(run.hessians[input_name][None].clone(), DAMPING_FRAC)
        for name, input_name in run.input_names.items()
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


def list_ggml_k(run: RunArtifacts, library_path: Path) -> list[tuple[str, str, Callable[[], Quantized]]]:
    """(name, setting, function) of each K format, without and with an importance matrix."""
    weights = {name: run.state_dict[name].float() for name in run.input_names}
    diagonals = {name: run.hessians[input_name].diagonal() for name, input_name in run.input_names.items()}
    return [
        (name, type_name, lambda t=type_name, i=importance: quantize_ggml_k(weights, t, library_path, i))
        for name, importance in (("ggml", None), ("ggml, importance", diagonals))
        for type_name in GGML_K_BLOCK_BYTES
    ]


def draw(rows: list[dict], path: Path) -> None:
    """Draw the smaller size of each point against its divergence, both on log scales."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, points in io.group_by([row for row in rows if "bytes" in row], "quantizer").items():
        points = sorted(points, key=lambda row: min(row["bytes"].values()))
        sizes, kl = [min(row["bytes"].values()) for row in points], [row["kl"] for row in points]
        axes.plot(sizes, kl, marker="o", linewidth=2.5 if name in CODINGS else 1, label=name)
    axes.set(xscale="log", yscale="log", xlabel="bytes of the file", ylabel="KL from full precision, nats per token")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    main()
