"""Bytes against loss of bits per byte: a baseline and each of our steps, on the same weights.

``python benchmarks/rate_distortion.py ARTIFACTS [ARTIFACTS ...]`` reads the artifacts of fetch, ema and calibrate,
quantizes with each recipe at several clips or base steps, packs like compress, and scores plain windows of val:

baseline          a scale for each row by SDClip, Brotli 11: PR #1493 (docs/references.md#sdclip)
baseline, ANS     the same codes with our coder
columns           a scale for each column, base step in standard deviations of each tensor (WaterSIC, arXiv:2603.04956)
columns, tensors  the same, with the base step of a tensor set by its sensitivity
columns, rows     the same for each row: quantize.grid: row_column

It prints a line for each setting, with the bytes of an order-0 coder next to those of the file. Then it prints for
every setting of the baseline our bytes at its loss and our loss at its bytes, by interpolation of the log loss, and
the paired difference over documents, with its interval, to our setting of nearest size.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.compression import quantized_tensor, writer
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed import context
from golf.evaluation import bpb, significance
from golf.evaluation.ledger import LedgerData
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT
from golf.quantization import codes_io, report, solver

SDCLIP_SETTINGS = ((10.5, 16.0), (12.85, 20.0), (18.0, 28.0), (26.0, 40.0))  # matrices, embedding
BASE_STEPS = (0.4, 0.55, 0.75, 1.0, 1.4)
RECIPES = ("baseline", "baseline, ANS", "columns", "columns, tensors", "columns, rows")
OUR_RECIPE = RECIPES[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of complete runs")
    parser.add_argument("--damping-frac", type=float, default=0.01, help="of the Hessian's mean diagonal (%(default)s)")
    parser.add_argument("--tokens", type=int, help="tokens of val to score (all)")
    parser.add_argument("--device", default="cpu", help="for scoring (%(default)s); quantization stays on the CPU")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=RECIPES, metavar="RECIPE")
    parser.add_argument("--json", help="also write the measurements here")
    parser.add_argument("--csv", help="also write the curves here, for dvc plots")
    args = parser.parse_args()
    runs = {}
    for folder in args.artifacts:
        run = QuantizationRun(folder, args.damping_frac, args.tokens, args.device)
        n_targets = len(run.stream.target_bytes)
        print(f"{folder}: {run.n_weights:,} weights, {run.trained_score.bpb:.4f} bpb as trained, {n_targets:,} targets")
        points = [run.measure(recipe, setting) for recipe in args.only for setting in recipe_settings(recipe)]
        runs[str(folder)] = {"trained_bpb": run.trained_score.bpb, "points": [point_to_json(point) for point in points]}
        if {"baseline", OUR_RECIPE} <= set(args.only):
            runs[str(folder)]["gains"] = compute_gains(points)
            print_gains(runs[str(folder)]["gains"])
    if args.json:
        io.write_json(args.json, {"threads": torch.get_num_threads(), "runs": runs})
    if args.csv:
        rows = [{"run": name, **point} for name, result in runs.items() for point in result["points"]]
        io.write_csv(args.csv, rows)


def recipe_settings(recipe: str) -> tuple:
    return SDCLIP_SETTINGS if recipe.startswith("baseline") else BASE_STEPS


@dataclass(frozen=True)
class RatePoint:
    """One recipe at one setting. order_0_bytes: with the codes of each tensor under its own histogram."""

    recipe: str
    setting: object
    bits_per_weight: float
    file_bytes: int
    order_0_bytes: int
    bpb_increase: float
    rows: LedgerData


def point_to_json(point: RatePoint) -> dict:
    sizes = {"bytes": point.file_bytes, "order_0_bytes": point.order_0_bytes}
    setting = {"setting": str(point.setting), "bits_per_weight": round(point.bits_per_weight, 4)}
    return {"recipe": point.recipe, **setting, **sizes, "bpb_increase": point.bpb_increase}


class QuantizationRun:
    """A complete run: weights, Hessians, sensitivities, and val to score on."""

    def __init__(self, folder: Path, damping_frac: float, max_targets: int | None, device: str):
        artifacts = RunArtifacts.load(folder)
        self.state_dict, self.hessians, self.sensitivity = (
            artifacts.state_dict,
            artifacts.hessians,
            artifacts.sensitivity,
        )
        self.model_cfg, self.input_names, self.unquantized = (
            artifacts.model_cfg,
            artifacts.input_names,
            artifacts.unquantized,
        )
        self.n_weights = sum(self.state_dict[name].numel() for name in self.input_names)
        split, tokenizer = (
            split_reader.open_split(folder / "fetch/val"),
            Tokenizer.open(folder / "fetch/tokenizer.model"),
        )
        full_stream = EvalStream.from_split(split, tokenizer)
        n_targets = min(max_targets or full_stream.n_targets, full_stream.n_targets)
        self.stream = EvalStream(
            full_stream.tokens[: n_targets + 1], full_stream.target_bytes[:n_targets], full_stream.bos
        )
        self.model, self.ctx = GPT(self.model_cfg).to(device), context.single_process(device)
        self.scorer = Scorer(self.model, self.ctx, eval_batch_tokens=16 * self.model_cfg.context_length)
        self.trained_score = bpb.compute_score(self.score_weights(self.state_dict))
        self.solve_batches = solver.build_batches(self.state_dict, self.hessians, self.input_names, damping_frac)

    def score_weights(self, weights) -> LedgerData:
        self.model.load_state_dict(weights)
        tokens = self.stream.tokens
        nll = self.scorer.score(tokens[:1], tokens[1:], stride=self.model_cfg.context_length)
        documents = np.flatnonzero(tokens[:-1] == self.stream.bos)
        return LedgerData(
            nll, self.stream.target_bytes.astype(np.uint16), np.zeros(len(nll), np.uint32), documents, np.empty(0)
        )

    def measure(self, recipe: str, setting) -> RatePoint:
        quantized = self.quantize(recipe, setting)
        stored = codes_io.to_storage(quantized, self.unquantized)
        without_codes = {
            name: tensor for name, tensor in stored.items() if not name.endswith(quantized_tensor.CODES_SUFFIX)
        }
        codec = "brotli" if recipe == "baseline" else "ans"
        file_bytes, other_bytes = (
            len(writer.pack(tensors, self.model_cfg, upstream_splits=("train",), codec=codec, brotli_quality=11))
            for tensors in (stored, without_codes)
        )
        bits = sum(report.empirical_entropy(pair.codes) * pair.codes.numel() for pair in quantized.values())
        rows = self.score_weights(quantized_tensor.dequantize_state_dict(stored))
        bpb_increase = bpb.compute_score(rows).bpb - self.trained_score.bpb
        point = RatePoint(
            recipe, setting, bits / self.n_weights, file_bytes, round(bits / 8) + other_bytes, bpb_increase, rows
        )
        print(
            f"  {recipe:<18} {setting!s:<14} order 0: {point.bits_per_weight:.3f} bits per weight, "
            f"{point.order_0_bytes:>11,} bytes   file {point.file_bytes:>11,} bytes   loss {bpb_increase:.5f} bpb",
            flush=True,
        )
        return point

    def quantize(self, recipe: str, setting) -> dict:
        if recipe.startswith("baseline"):
            cfg = SimpleNamespace(
                block_size=128, matrix_bits=6, matrix_clip=setting[0], embed_bits=8, embed_clip=setting[1]
            )
            return solver.quantize_with_row_scales(self.solve_batches, self.state_dict, cfg)
        column_scales = solver.compute_column_scales(
            self.solve_batches, self.state_dict, SENSITIVITY_METHODS[recipe](self)
        )
        return solver.quantize_with_column_scales(self.solve_batches, self.state_dict, column_scales, setting, 128)

    def sensitivity_by_row(self) -> dict[str, torch.Tensor]:
        return self.sensitivity

    def sensitivity_by_tensor(self) -> dict[str, torch.Tensor]:
        return {name: a_O.mean().expand_as(a_O) for name, a_O in self.sensitivity.items()}

    def uniform_sensitivity(self) -> dict[str, torch.Tensor]:
        """Sensitivities that give every tensor the same step in units of its own standard deviation."""
        sensitivity = {}
        for batch in self.solve_batches:
            for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True):
                for name in names:
                    spread = diag_I.double().log().mean().exp() * self.state_dict[name].double().square().mean().sqrt()
                    sensitivity[name] = (1 / spread**2).float().expand(len(self.state_dict[name]))
        return sensitivity


SENSITIVITY_METHODS = {
    "columns": QuantizationRun.uniform_sensitivity,
    "columns, tensors": QuantizationRun.sensitivity_by_tensor,
    "columns, rows": QuantizationRun.sensitivity_by_row,
}


def compute_gains(points: list[RatePoint]) -> list[dict]:
    """For every setting of the baseline: our bytes at its loss and our loss at its bytes, as relative changes."""
    ours = sorted((p for p in points if p.recipe == OUR_RECIPE and p.bpb_increase > 0), key=lambda p: p.file_bytes)
    size, loss = np.array([p.file_bytes for p in ours]), np.log([p.bpb_increase for p in ours])
    loss = np.maximum.accumulate(loss[::-1])[::-1]  # noise may give a larger file a larger loss: make it monotonic
    rows = []
    for baseline in (p for p in points if p.recipe == "baseline"):
        row = {"setting": str(baseline.setting), "bytes_change": None, "loss_change": None}
        if loss.min() <= math.log(baseline.bpb_increase) <= loss.max():  # no extrapolation
            row["bytes_change"] = (
                float(np.interp(math.log(baseline.bpb_increase), loss[::-1], size[::-1])) / baseline.file_bytes - 1
            )
        if size[0] <= baseline.file_bytes <= size[-1]:
            row["loss_change"] = math.exp(float(np.interp(baseline.file_bytes, size, loss))) / baseline.bpb_increase - 1
        nearest = min(ours, key=lambda p: abs(math.log(p.file_bytes / baseline.file_bytes)))
        paired_change = significance.compute_paired_difference([baseline.rows], [nearest.rows])
        row |= {
            "nearest_setting": str(nearest.setting),
            "nearest_bytes_change": nearest.file_bytes / baseline.file_bytes - 1,
            "improved_fraction": paired_change.improved_fraction,
        }
        difference = paired_change.bpb_difference
        row |= {"difference": difference.value, "half_width": difference.half_width}
        rows.append(row)
    return rows


def print_gains(rows: list[dict]) -> None:
    print("  against each setting of the baseline: bytes at its loss, loss at its bytes, and document by document")
    for row in rows:
        at_loss, at_bytes = (
            f"{row[key]:+.1%}" if row[key] is not None else "NOT-RUN" for key in ("bytes_change", "loss_change")
        )
        print(
            f"  {row['setting']:<14} bytes {at_loss:>8}   loss {at_bytes:>8}   base step {row['nearest_setting']} "
            f"({row['nearest_bytes_change']:+.1%} bytes): {row['difference']:+.5f} ± {row['half_width']:.5f} bpb, "
            f"{row['improved_fraction']:.0%} of the documents better"
        )


if __name__ == "__main__":
    main()
