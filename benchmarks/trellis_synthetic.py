"""Trellis-coded quantization of made-up weights: bits saved on a Gaussian, and seconds at the record's size.

    PYTHONPATH=. python benchmarks/trellis_synthetic.py --gaussian --json FILE
    PYTHONPATH=. python benchmarks/trellis_synthetic.py --record --json FILE

--gaussian prints, for a unit Gaussian, the bits that each number of states saves against uniform rounding at equal
squared error; the lattices D4 and E8 over rows of a column are there for comparison (docs/references.md#trellis).

--record solves, packs and decodes random weights of the record's 67 tensors, and prints seconds of the clock and of
all processor cores. The trellis's kernel is compiled beforehand, and its seconds are printed too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io
from golf.compression import trellis, writer
from golf.compression.ans import decode as decode_ans
from golf.quantization import report, solver, viterbi
from golf.quantization.trellis import Coding, ColumnRounder

BASE_STEP, BLOCK_SIZE = 0.5, 128
RECORD_SHAPES = {  # name: layers, rows, columns
    "attn.c_q": (11, 512, 512),
    "attn.c_k": (11, 256, 512),
    "attn.c_v": (11, 256, 512),
    "attn.proj": (11, 512, 512),
    "mlp.fc": (11, 2048, 512),
    "mlp.proj": (11, 512, 2048),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--gaussian", action="store_true")
    group.add_argument("--record", action="store_true")
    parser.add_argument("--coding", choices=("trellis", "scalar"), default="trellis", help="of --record (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.gaussian:
        results = {"gaussian": measure_gaussian()}
    else:
        coding = Coding(trellis_states=8 if args.coding == "trellis" else None, rate_weight=0.05)
        results = {"record": measure_record(coding)}
    if args.json:
        io.write_json(args.json, results)


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
            uniform_bits = report.compute_empirical_entropy(torch.from_numpy(np.rint(x / step)).int())
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
    bits = report.compute_empirical_entropy(codes.int(), parity_known=True)
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
        first = report.compute_empirical_entropy(part[:, :-1])
        last = report.compute_empirical_entropy(part[:, -1], parity_known=True)  # the sum is even
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


class Stopwatch:
    """Seconds of the clock, and of all cores, by the name of what was measured."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        """Add the seconds of ``work`` to those of ``name`` and return its result."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        total = self.seconds.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        total["wall"] += time.perf_counter() - wall
        total["cpu"] += time.process_time() - cpu
        return result


def measure_record(coding: Coding) -> dict[str, Any]:
    """Seconds to compile the kernel, and to solve, pack and decode random weights of the record's tensors once."""
    weights, inputs, hessians = draw_record()
    watch = Stopwatch()
    if coding.trellis_states is not None:
        watch.measure("compile", viterbi.compile_kernel)
    batches = watch.measure("factorize", lambda: solver.build_batches(weights, hessians, inputs, 0.01))
    column_scales = solver.compute_column_scales(batches, weights, {n: torch.ones(len(w)) for n, w in weights.items()})
    quantized = watch.measure(
        "solve",
        lambda: solver.quantize_with_column_scales(batches, weights, column_scales, BASE_STEP, BLOCK_SIZE, coding),
    )
    groups: dict[str, list[np.ndarray]] = {}
    for name, qtensor in quantized.items():
        groups.setdefault(name.split(".", 2)[-1], []).append(qtensor.codes.numpy())
    n_bytes = 0
    for arrays in groups.values():
        packed = watch.measure("pack", lambda arrays=arrays: encode(arrays, coding))
        n_bytes += len(packed)
        decode = decode_ans if coding.trellis_states is None else trellis.decode
        arguments = packed, arrays[0].dtype, [array.shape for array in arrays]
        decoded = watch.measure("decode", lambda decode=decode, arguments=arguments: decode(*arguments))
        assert all(np.array_equal(array, other) for array, other in zip(arrays, decoded, strict=True))
    n_weights = sum(w.numel() for w in weights.values())
    n_threads = torch.get_num_threads()
    print(f"{len(weights)} tensors, {n_weights:,} weights, {n_bytes:,} bytes of codes, {n_threads} threads")
    for name, seconds in watch.seconds.items():
        print(f"{name:<10} {seconds['wall']:6.2f} s, of all cores {seconds['cpu']:6.2f} s")
    figures = {"weights": n_weights, "bytes": n_bytes, "threads": n_threads}
    seconds = {name: {key: round(value, 2) for key, value in row.items()} for name, row in watch.seconds.items()}
    return figures | {"seconds": seconds}


def draw_record() -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, torch.Tensor]]:
    """Random weights of the record's tensors, the input of each, and a Hessian of each input."""
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
    return weights, inputs, hessians


def encode(arrays: list[np.ndarray], coding: Coding) -> bytes:
    if coding.trellis_states is None:
        return writer.encode_ans(arrays, 11)
    return writer.encode_trellis(arrays, coding.trellis_states, 11)


if __name__ == "__main__":
    main()
