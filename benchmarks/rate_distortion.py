"""Bytes against bits per byte lost: the record recipe, and what each of our steps adds, on the same weights.

``python benchmarks/rate_distortion.py ARTIFACTS [ARTIFACTS ...]`` reads what runs left there (fetch, ema, calibrate),
quantises by each recipe at several clips or levels, packs as compress would, and scores plain windows of val:

record               a step a row by SDClip, Brotli 11 (record-stack 1.5 and 1.6)
record, entropy      the same codes through our coder
columns              a step a column, levels in standard deviations of each tensor (WaterSIC, arXiv:2603.04956)
columns, tensors     the same, and levels by how much the loss minds each tensor
columns, rows        the same for each row: quantize.grid: column

Printed: a line for each, with the bytes of an order-0 coder beside the file's; then, for every setting of the record,
the bytes of the last recipe at its loss and the loss at its bytes, by interpolation of log loss, and at about equal
bytes the paired difference over documents with its interval.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from finished import Finished

from golf.codec import packing
from golf.data import shards
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer
from golf.ground import runtime, store
from golf.model.gpt import GPT
from golf.quant import codes, grid, outcome, solver
from golf.score import bpb, paired
from golf.score.ledger import Rows
from golf.score.scorer import Scorer

CLIPS = ((10.5, 16.0), (12.85, 20.0), (18.0, 28.0), (26.0, 40.0))  # matrices, embedding
LEVELS = (0.4, 0.55, 0.75, 1.0, 1.4)
RECIPES = ("record", "record, entropy", "columns", "columns, tensors", "columns, rows")
OURS = RECIPES[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of finished runs")
    parser.add_argument("--damp", type=float, default=0.01)
    parser.add_argument("--tokens", type=int, help="of val that are scored; all")
    parser.add_argument("--device", default="cpu", help="that scores (%(default)s); quantising stays on the CPU")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=RECIPES, metavar="RECIPE")
    parser.add_argument("--json", help="also write the figures here")
    parser.add_argument("--csv", help="also write the curves here, for dvc plots")
    asked = parser.parse_args()
    runs = {}
    for folder in asked.artifacts:
        run = Run(folder, asked.damp, asked.tokens, asked.device)
        print(f"{folder}: {run.weights:,} weights, {run.fp.bpb:.4f} bpb as trained, {len(run.stream.bytes):,} targets")
        points = [run.point(recipe, setting) for recipe in asked.only for setting in settings(recipe)]
        runs[str(folder)] = {"fp_bpb": run.fp.bpb, "points": [told(point) for point in points]}
        if {"record", OURS} <= set(asked.only):
            runs[str(folder)]["gains"] = gains(points)
            show(runs[str(folder)]["gains"])
    if asked.json:
        store.write_json(asked.json, {"threads": torch.get_num_threads(), "runs": runs})
    if asked.csv:
        rows = [{"run": name, **point} for name, found in runs.items() for point in found["points"]]
        store.write_table(asked.csv, rows)


def settings(recipe: str) -> tuple:
    return CLIPS if recipe.startswith("record") else LEVELS


@dataclass(frozen=True)
class Point:
    """One recipe at one setting. bytes: of the file; ideal: with each tensor's codes under its own histogram."""

    recipe: str
    setting: object
    bits: float
    bytes: int
    ideal: int
    lost: float
    rows: Rows


def told(point: Point) -> dict:
    named = {"recipe": point.recipe, "setting": str(point.setting), "bits": round(point.bits, 4)}
    return named | {"bytes": point.bytes, "ideal": point.ideal, "lost": point.lost}


class Run:
    """A finished run: weights, Hessians, sensitivities, and val to score on."""

    def __init__(self, folder: Path, damp: float, limit: int | None, device: str):
        run = Finished.load(folder)
        self.state, self.hessians, self.minded = run.state, run.hessians, run.minded
        self.shape, self.inputs, self.small = run.shape, run.inputs, run.small
        self.weights = sum(self.state[name].numel() for name in self.inputs)
        split, tokenizer = shards.open_split(folder / "fetch/val"), Tokenizer.open(folder / "fetch/tokenizer.model")
        whole = Stream.of(split, tokenizer)
        targets = min(limit or whole.targets, whole.targets)
        self.stream = Stream(whole.tokens[: targets + 1], whole.bytes[:targets], whole.bos)
        self.model, self.here = GPT(self.shape).to(device), runtime.alone(device)
        self.scorer = Scorer(self.model, self.here, score_tokens=16 * self.shape.context)
        self.fp = bpb.score(self.scored(self.state))
        self.ready = solver.batches(self.state, self.hessians, self.inputs, damp)

    def scored(self, weights) -> Rows:
        self.model.load_state_dict(weights)
        tokens = self.stream.tokens
        nll = self.scorer.score(tokens[:1], tokens[1:], stride=self.shape.context)
        documents = np.flatnonzero(tokens[:-1] == self.stream.bos)
        return Rows(nll, self.stream.bytes.astype(np.uint16), np.zeros(len(nll), np.uint32), documents, np.empty(0))

    def point(self, recipe: str, setting) -> Point:
        quantized = self.quantized(recipe, setting)
        stored = codes.flatten(quantized, self.small)
        rest = {name: tensor for name, tensor in stored.items() if not name.endswith(grid.CODES)}
        coder = "brotli" if recipe == "record" else "entropy"
        file, side = (
            len(packing.pack(tensors, self.shape, seen=("train",), codec=coder, quality=11))
            for tensors in (stored, rest)
        )
        bits = sum(outcome.entropy(pair.codes) * pair.codes.numel() for pair in quantized.values())
        rows = self.scored(grid.weights(stored))
        lost = bpb.score(rows).bpb - self.fp.bpb
        point = Point(recipe, setting, bits / self.weights, file, round(bits / 8) + side, lost, rows)
        print(
            f"  {recipe:<18} {setting!s:<14} {point.bits:.3f} bits a weight by order 0   order 0 {point.ideal:>11,}   "
            f"file {point.bytes:>11,} bytes   lost {lost:.5f} bpb",
            flush=True,
        )
        return point

    def quantized(self, recipe: str, setting) -> dict:
        if recipe.startswith("record"):
            plan = SimpleNamespace(
                block=128, matrix_bits=6, matrix_clip=setting[0], embed_bits=8, embed_clip=setting[1]
            )
            return solver.on_rows(self.ready, self.state, plan)
        columns = solver.columns_of(self.ready, self.state, getattr(self, MINDED[recipe])())
        return solver.on_columns(self.ready, self.state, columns, setting, 128)

    def by_row(self) -> dict[str, torch.Tensor]:
        return self.minded

    def by_tensor(self) -> dict[str, torch.Tensor]:
        return {name: each.mean().expand_as(each) for name, each in self.minded.items()}

    def alike(self) -> dict[str, torch.Tensor]:
        """Sensitivities under which every tensor's step is the same in its own standard deviations."""
        found = {}
        for batch in self.ready:
            for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True):
                for name in names:
                    spread = diag_I.double().log().mean().exp() * self.state[name].double().square().mean().sqrt()
                    found[name] = (1 / spread**2).float().expand(len(self.state[name]))
        return found


MINDED = {"columns": "alike", "columns, tensors": "by_tensor", "columns, rows": "by_row"}


def gains(points: list[Point]) -> list[dict]:
    """For every setting of the record: our bytes at its loss, and our loss at its bytes, both relative to its own."""
    ours = sorted((p for p in points if p.recipe == OURS and p.lost > 0), key=lambda p: p.bytes)
    size, loss = np.array([p.bytes for p in ours]), np.log([p.lost for p in ours])
    loss = np.maximum.accumulate(loss[::-1])[::-1]  # noise may say that a larger file loses more: then all smaller do
    found = []
    for theirs in (p for p in points if p.recipe == "record"):
        row = {"setting": str(theirs.setting), "bytes": None, "lost": None}
        if loss.min() <= math.log(theirs.lost) <= loss.max():  # nothing is said beyond what was measured
            row["bytes"] = float(np.interp(math.log(theirs.lost), loss[::-1], size[::-1])) / theirs.bytes - 1
        if size[0] <= theirs.bytes <= size[-1]:
            row["lost"] = math.exp(float(np.interp(theirs.bytes, size, loss))) / theirs.lost - 1
        near = min(ours, key=lambda p: abs(math.log(p.bytes / theirs.bytes)))
        change = paired.difference([theirs.rows], [near.rows])
        row |= {"against": str(near.setting), "its_bytes": near.bytes / theirs.bytes - 1, "better": change.better}
        row |= {"difference": change.difference.value, "interval": change.difference.half}
        found.append(row)
    return found


def show(found: list[dict]) -> None:
    print("  against each setting of the record: bytes at its loss, loss at its bytes, and document by document")
    for row in found:
        at_loss, at_bytes = (f"{row[key]:+.1%}" if row[key] is not None else "NOT-RUN" for key in ("bytes", "lost"))
        print(
            f"  {row['setting']:<14} bytes {at_loss:>8}   loss {at_bytes:>8}   level {row['against']} "
            f"({row['its_bytes']:+.1%} bytes): {row['difference']:+.5f} ± {row['interval']:.5f} bpb, "
            f"{row['better']:.0%} of the documents better"
        )


if __name__ == "__main__":
    main()
