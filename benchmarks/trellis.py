"""Bytes at equal divergence: trellis-coded against scalar codes, each with and without the rate term, and lattices.

    PYTHONPATH=. python benchmarks/trellis.py ARTIFACTS --split dev --tokens 16384 --json FILE

quantizes the weights of a finished run (the artifacts folder of fetch, ema and calibrate) at several base steps under
each form of ``golf.quantization.trellis``, packs like compress, and measures KL(full precision ‖ quantized) as
``rate_distortion.py`` does. For each base step of the baseline it prints the bytes of every form at its divergence over
the baseline's, with the interval over documents (``rate_curves``). The baseline is scalar rounding with the rate term.

With --gaussian it prints instead, for a unit Gaussian, the bits that each form saves against uniform rounding at equal
squared error; the lattices D4 and E8 over rows of a column are there for comparison (docs/references.md#trellis).

With --record it solves, packs and decodes random weights of the record's 67 tensors once, in CPU seconds.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from divergence import DivergenceScorer
from rate_curves import Curve, compare_bytes, format_ratio
from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.compression import quantized_tensor, trellis, writer
from golf.compression.ans import decode as decode_ans
from golf.quantization import codes_io, report, solver
from golf.quantization.trellis import Coding, ColumnRounder

BASE_STEPS = (0.5, 0.66, 0.85)
BASELINE = "scalar, rate 0.05"
RECORD_SHAPES = {  # name: layers, rows, columns, tensors of a layer that share an input
    "attn.c_q": (11, 512, 512),
    "attn.c_k": (11, 256, 512),
    "attn.c_v": (11, 256, 512),
    "attn.proj": (11, 512, 512),
    "mlp.fc": (11, 2048, 512),
    "mlp.proj": (11, 512, 2048),
}


def parse_forms(text: str) -> tuple[str, Coding]:
    """scalar:0.05 or 8:0.05, the states and the rate weight."""
    states, rate_weight = text.split(":")
    coding = Coding(trellis_states=None if states == "scalar" else int(states), rate_weight=float(rate_weight))
    name = "scalar" if coding.trellis_states is None else f"{states} states"
    return f"{name}, rate {coding.rate_weight:g}", coding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="?", type=Path, help="artifacts folder of a finished run")
    parser.add_argument("--split", choices=("dev", "val"), default="dev", help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=16384, help="of the split, to score (%(default)s)")
    parser.add_argument("--base-steps", nargs="+", type=float, default=BASE_STEPS)
    parser.add_argument(
        "--forms",
        nargs="+",
        type=parse_forms,
        metavar="STATES:RATE",
        default=[parse_forms(f"{s}:{c}") for s in ("scalar", 4, 8, 16) for c in (0.0, 0.05)],
        help="such as scalar:0 8:0.05; the baseline must be among them",
    )
    parser.add_argument("--gaussian", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.gaussian:
        results = {"gaussian": measure_gaussian()}
    elif args.record:
        results = {"record": measure_record(Coding(trellis_states=8, rate_weight=0.05))}
    else:
        results = measure_run(args)
    if args.json:
        io.write_json(args.json, results)


def measure_run(args: argparse.Namespace) -> dict:
    run = RunArtifacts.load(args.artifacts)
    batches = solver.build_batches(run.state_dict, run.hessians, run.input_names, 0.01)
    column_scales = solver.compute_column_scales(batches, run.state_dict, run.sensitivity)
    scorer = DivergenceScorer(run, args.artifacts, args.split, args.tokens, "cpu")
    points: dict[str, list[dict]] = {}
    for name, coding in args.forms:
        for base_step in args.base_steps:
            quantized = solver.quantize_with_column_scales(
                batches, run.state_dict, column_scales, base_step, 128, coding
            )
            stored = codes_io.to_storage(quantized, run.unquantized)
            options = {"codec": "ans", "brotli_quality": 11, "trellis_states": coding.trellis_states}
            size = len(writer.pack(stored, run.model_cfg, upstream_splits=("train",), **options))
            scores = scorer.score(quantized_tensor.dequantize_state_dict(stored))
            points.setdefault(name, []).append({"base_step": base_step, "bytes": size, **scores})
            kl_per_token = sum(scores["kl"]) / sum(scores["tokens"])
            print(f"{name:<20} base step {base_step:<5g} {size:>10,} bytes   KL {kl_per_token:.4e}", flush=True)
    curves = {
        name: Curve(np.array([p["bytes"] for p in rows]), np.array([p["kl"] for p in rows]))
        for name, rows in points.items()
    }
    tokens_D, ratios = np.array(points[BASELINE][0]["tokens"]), {}
    for name, curve in curves.items():
        ratios[name] = [compare_bytes(curve, curves[BASELINE], kl_D, tokens_D) for kl_D in curves[BASELINE].kl]
        cells = "   ".join(format_ratio(ratio) for ratio in ratios[name])
        print(f"{name:<20} bytes over the baseline's: {cells}")
    return {
        "run": str(args.artifacts.name),
        "split": args.split,
        "tokens": int(tokens_D.sum()),
        "baseline": BASELINE,
        "points": {
            name: [{k: p[k] for k in ("base_step", "bytes")} | {"kl": sum(p["kl"]) / sum(p["tokens"])} for p in rows]
            for name, rows in points.items()
        },
        "ratios": {name: [[r.value, r.low, r.high] for r in rows] for name, rows in ratios.items()},
    }


def measure_gaussian() -> dict[str, list[float]]:
    """Bits saved at spreads of about 3, 2.6 and 2.1 bits, against uniform rounding at equal squared error."""
    rng, saved = np.random.default_rng(0), {}
    for spread in (2.0, 1.5, 1.0):
        x = rng.normal(0, spread, 400_000)
        for name, (error, bits) in {
            "D4": lattice_point(x, 4),
            "E8": lattice_point(x, 8),
            **{f"{s} states": trellis_point(x, s) for s in trellis.STATE_COUNTS},
        }.items():
            step = find_uniform_step(x, error)
            uniform_bits = report.empirical_entropy(torch.from_numpy(np.rint(x / step)).int())
            saved.setdefault(name, []).append(uniform_bits - bits)
    for name, values in saved.items():
        print(f"{name:<10} saves " + ", ".join(f"{value:.3f}" for value in values) + " bit a weight")
    return saved


def find_uniform_step(x: np.ndarray, error: float) -> float:
    low, high = 0.1, 20.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if np.mean((x - middle * np.rint(x / middle)) ** 2) < error else (low, middle)
    return high


def trellis_point(x: np.ndarray, n_states: int) -> tuple[float, float]:
    """(squared error, bits) of steps of 1/2, levels 1 apart."""
    column = torch.from_numpy(2 * x).float()[None, None]
    coding = Coding(trellis_states=n_states, rate_weight=0.0)
    order = torch.zeros(1, 1, dtype=torch.int64)
    rounder = ColumnRounder(coding, [[len(x)]], torch.ones(1, len(x)), torch.ones(1, 1), None, order)
    codes = rounder(column, 0)
    bits = report.empirical_entropy(codes.int(), parity_known=True)
    return float(((column - codes) / 2).square().mean()), bits


def lattice_point(x: np.ndarray, width: int) -> tuple[float, float]:
    """(squared error, bits) of D4, or of E8 = D8 and D8 + 1/2, by the nearest point of Conway and Sloane (1982)."""
    x_BW = x.reshape(-1, width) * 2 ** (1 / width if width == 4 else 0)  # both with one point in a unit volume
    scale = 2 ** (1 / width if width == 4 else 0)
    candidates = [nearest_checkerboard(x_BW)]
    if width == 8:
        candidates.append(nearest_checkerboard(x_BW - 0.5) + 0.5)
    errors = np.stack([((x_BW - point) ** 2).sum(axis=1) for point in candidates])
    choice = errors.argmin(axis=0)
    point_BW = np.stack(candidates)[choice, np.arange(len(x_BW))]
    shift_B = choice * 0.5
    codes_BW = torch.from_numpy(point_BW - shift_B[:, None]).int()
    bits = float(width == 8) / width  # which coset, one bit a block
    for half in range(len(candidates)):
        part = codes_BW[torch.from_numpy(choice == half)]
        share = len(part) / len(codes_BW)
        first = report.empirical_entropy(part[:, :-1])
        last = report.empirical_entropy(part[:, -1], parity_known=True)  # the sum is even, so its parity is known
        bits += share * ((width - 1) * first + last) / width
    return float(errors.min(axis=0).mean() / width / scale**2), bits


def nearest_checkerboard(x_BW: np.ndarray) -> np.ndarray:
    """The nearest point of D_n: integers whose sum is even."""
    near = np.rint(x_BW)
    off = x_BW - near
    worst = np.abs(off).argmax(axis=1)
    rows = np.arange(len(x_BW))
    flipped = near.copy()
    flipped[rows, worst] += np.where(off[rows, worst] >= 0, 1, -1)
    return np.where((near.sum(axis=1) % 2 == 0)[:, None], near, flipped)


def measure_record(coding: Coding) -> dict[str, float]:
    """CPU seconds to solve, pack and decode random weights of the record's tensors once."""
    rng = torch.Generator().manual_seed(0)
    weights = {"tok_emb.weight": torch.randn(8192, 512, generator=rng)}
    inputs, hessians = {"tok_emb.weight": "tok_emb"}, {"tok_emb": torch.eye(512)}
    for leaf, (n_layers, rows, columns) in RECORD_SHAPES.items():
        for layer in range(n_layers):
            name = f"blocks.{layer}.{leaf}.weight"
            weights[name] = torch.randn(rows, columns, generator=rng)
            inputs[name] = f"blocks.{layer}." + ("attn" if leaf[-2:] in ("_q", "_k", "_v") else leaf)
            if inputs[name] not in hessians:
                x = torch.randn(columns + 64, columns, generator=rng)
                hessians[inputs[name]] = x.T @ x
    batches = solver.build_batches(weights, hessians, inputs, 0.01)
    column_scales = solver.compute_column_scales(batches, weights, {n: torch.ones(len(w)) for n, w in weights.items()})
    start = time.process_time()
    quantized = solver.quantize_with_column_scales(batches, weights, column_scales, 0.5, 128, coding)
    seconds = {"solve": time.process_time() - start, "pack": 0.0, "decode": 0.0}
    groups: dict[str, list[np.ndarray]] = {}
    for name, qtensor in quantized.items():
        groups.setdefault(name.split(".", 2)[-1], []).append(qtensor.codes.numpy())
    n_bytes = 0
    for arrays in groups.values():
        start = time.process_time()
        if coding.trellis_states is None:
            packed, decode = writer.encode_ans(arrays, 11), decode_ans
        else:
            packed, decode = writer.encode_trellis(arrays, coding.trellis_states, 11), trellis.decode
        seconds["pack"] += time.process_time() - start
        n_bytes += len(packed)
        start = time.process_time()
        decode(packed, arrays[0].dtype, [array.shape for array in arrays])
        seconds["decode"] += time.process_time() - start
    n_weights = sum(w.numel() for w in weights.values())
    print(f"{len(weights)} tensors, {n_weights:,} weights, {n_bytes:,} bytes of codes, CPU seconds: {seconds}")
    return {"weights": n_weights, "bytes": n_bytes, **seconds}


if __name__ == "__main__":
    main()
