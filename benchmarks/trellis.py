"""Bytes at equal divergence: trellis-coded against scalar codes, each with and without the rate term.

    PYTHONPATH=. python benchmarks/trellis.py --run laptop=RUNS/laptop-314 laptop=RUNS/laptop-1 prose=RUNS/prose-314

quantizes the weights of each run at several base steps under each form of ``golf.quantization.trellis``, packs like
compress, and measures KL(full precision ‖ quantized) on plain windows of --split. MODEL=FOLDER names what was trained;
FOLDER is the artifacts folder of fetch, train, ema and calibrate (``rate_distortion``), folders of one MODEL are its
seeds. The baseline is scalar rounding with the rate term. At the divergence of each of its base steps the script gives
the bytes of every form over the baseline's (``rate_curves``).

Every point goes to --cache as soon as it is measured, so an interrupted script continues where it was. A point is
measured again when the run's files, the tokens, or the code that quantizes, packs and scores have changed.

--json holds

    split, tokens       what was scored, at most
    baseline            the form whose bytes all others are divided by
    runs                a row for each run: model; run, the first 12 digits of the digest of its files; commit, at which
                        it was measured; documents and tokens scored; points, by form: base_step, bytes, kl in nats per
                        token; ratios, by form: a row for each base step of the baseline
    models, overall     ratios of the geometric mean over the runs of a model, and over all runs
    earlier             figures of other commits, which the script keeps as they are

A ratio has base_step, kl, value, low and high. low and high are the 95 % interval over documents, all null where a
curve does not reach that divergence. Runs of one model are drawn the same documents.
"""

import argparse
import dataclasses
import functools
import itertools
import subprocess
from pathlib import Path

import numpy as np
from divergence import DivergenceScorer, PointCache
from rate_curves import ByteRatio, Comparison, Curve, format_ratio, pool_over_documents
from rate_distortion import split_run_argument
from run_artifacts import ROOT, RunArtifacts, identify_run

from golf.artifacts import io
from golf.compression import quantized_tensor, writer
from golf.quantization import codes_io, solver
from golf.quantization.trellis import Coding

BASE_STEPS = (0.5, 0.66, 0.85, 1.1)
BASELINE = "scalar:0.05"
FORMS = (BASELINE, "8:0.05", "scalar:0", "8:0", "4:0.05", "16:0.05")  # states or scalar, and the rate weight
OWN_SOURCES = ("benchmarks/divergence.py", "benchmarks/run_artifacts.py")
DAMPING_FRAC, BLOCK_SIZE = 0.01, 128
Comparisons = dict[str, dict[float, Comparison]]  # of a run: by form, by base step of the baseline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run", nargs="+", required=True, metavar="MODEL=FOLDER", dest="runs", help="artifacts folders"
    )
    parser.add_argument("--split", choices=("dev", "val"), default="dev", help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=32768, help="of the split, to score (%(default)s)")
    parser.add_argument("--base-steps", nargs="+", type=float, default=BASE_STEPS, metavar="STEP")
    parser.add_argument("--forms", nargs="+", default=FORMS, metavar="STATES:RATE", help=" ".join(FORMS))
    parser.add_argument("--cache", type=Path, default=Path("runs/trellis.jsonl"), help="(%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    cache, rows = PointCache(args.cache), []
    comparisons: dict[str, list[Comparisons]] = {}
    for model_name, folder in map(split_run_argument, args.run):
        run = MeasuredRun(folder, cache, args)
        print(f"{folder} ({model_name})", flush=True)
        forms = dict.fromkeys([BASELINE, *args.forms])
        points = {form: [run.measure(form, base_step) for base_step in args.base_steps] for form in forms}
        compared = compare_forms(points)
        comparisons.setdefault(model_name, []).append(compared)
        rows.append({"model": model_name, **run.description, **summarize(points), "ratios": pool([compared])})
        print_ratios(rows[-1]["ratios"])
    models = {model_name: pool(compared) for model_name, compared in comparisons.items()}
    for model_name, ratios in models.items():
        print(f"{model_name}, {len(comparisons[model_name])} runs")
        print_ratios(ratios)
    overall = pool(list(itertools.chain.from_iterable(comparisons.values())))
    print(f"all, {len(rows)} runs")
    print_ratios(overall)
    if args.json:
        earlier = io.read_json(args.json).get("earlier", []) if args.json.exists() else []
        figures = {"split": args.split, "tokens": args.tokens, "baseline": BASELINE, "runs": rows}
        io.write_json(args.json, figures | {"models": models, "overall": overall, "earlier": earlier})


def parse_form(text: str) -> Coding:
    """scalar:0.05 or 8:0.05, the states and the rate weight."""
    states, rate_weight = text.split(":")
    return Coding(trellis_states=None if states == "scalar" else int(states), rate_weight=float(rate_weight))


class MeasuredRun:
    """A run's weights, quantized under any form at any base step."""

    def __init__(self, folder: Path, cache: PointCache, args: argparse.Namespace):
        self._folder, self._cache, self._args = folder, cache, args
        self._run = RunArtifacts.load(folder)
        weights = self._run.state_dict
        self._batches = solver.build_batches(weights, self._run.hessians, self._run.input_names, DAMPING_FRAC)
        self._column_scales = solver.compute_column_scales(self._batches, weights, self._run.sensitivity)
        self._identity = identify_run(folder, *OWN_SOURCES) | {"split": args.split, "tokens": args.tokens}
        command = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        self.description = {"run": self._identity["run"][:12], "commit": commit}

    @functools.cached_property
    def _scorer(self) -> DivergenceScorer:
        return DivergenceScorer(self._run, self._folder, self._args.split, self._args.tokens, "cpu")

    def measure(self, form: str, base_step: float) -> dict:
        """A point, from the cache if it is there: base_step, bytes, and what the scorer gives of each document."""
        key = self._identity | {"form": form, "base_step": base_step}
        point = self._cache.get(key)
        if point is None:
            point = {"base_step": base_step} | self._measure(parse_form(form), base_step)
            self._cache.add(key, point)
        kl_per_token = sum(point["kl"]) / sum(point["tokens"])
        print(f"  {form:<12} base step {base_step:<5g} {point['bytes']:>10,} bytes   KL {kl_per_token:.4e}", flush=True)
        return point

    def _measure(self, coding: Coding, base_step: float) -> dict:
        quantized = solver.quantize_with_column_scales(
            self._batches, self._run.state_dict, self._column_scales, base_step, BLOCK_SIZE, coding
        )
        stored = codes_io.to_storage(quantized, self._run.unquantized)
        options = {"codec": "ans", "brotli_quality": 11, "trellis_states": coding.trellis_states}
        size = len(writer.pack(stored, self._run.model_cfg, upstream_splits=("train",), **options))
        return {"bytes": size, **self._scorer.score(quantized_tensor.dequantize_state_dict(stored))}


def compare_forms(points: dict[str, list[dict]]) -> Comparisons:
    """Every form of a run against the baseline, at the divergence of each of the baseline's points."""
    curves = {
        form: Curve(np.array([point["bytes"] for point in rows]), np.array([point["kl"] for point in rows]))
        for form, rows in points.items()
    }
    tokens_D = np.array(points[BASELINE][0]["tokens"])
    return {
        form: {
            point["base_step"]: Comparison(curve, curves[BASELINE], np.array(point["kl"]), tokens_D)
            for point in points[BASELINE]
        }
        for form, curve in curves.items()
        if form != BASELINE
    }


def summarize(points: dict[str, list[dict]]) -> dict:
    """The part of a run's row in --json that describes its points."""
    tokens_D = points[BASELINE][0]["tokens"]
    rows = {
        form: [
            {"base_step": point["base_step"], "bytes": point["bytes"], "kl": sum(point["kl"]) / sum(tokens_D)}
            for point in form_points
        ]
        for form, form_points in points.items()
    }
    return {"documents": len(tokens_D), "tokens": int(sum(tokens_D)), "points": rows}


def pool(runs: list[Comparisons]) -> dict[str, list[dict]]:
    """The ratios of --json, of the geometric mean over runs; kl is the arithmetic mean over runs."""
    pooled: dict[str, list[dict]] = {}
    for form, by_step in runs[0].items():
        for base_step in by_step:
            same = [run[form][base_step] for run in runs]
            kl = float(np.mean([item.target_kl_D.sum() / item.tokens_D.sum() for item in same]))
            ratio = dataclasses.asdict(pool_over_documents(same))
            pooled.setdefault(form, []).append({"base_step": base_step, "kl": kl, **ratio})
    return pooled


def print_ratios(ratios: dict[str, list[dict]]) -> None:
    for form, rows in ratios.items():
        cells = (format_ratio(ByteRatio(row["value"], row["low"], row["high"])) for row in rows)
        print(f"  {form:<12} bytes over the baseline's: {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
