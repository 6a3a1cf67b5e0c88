"""Bytes, divergence and bpb of a run's weights under each recipe, and how many weights each would let into the limit.

    PYTHONPATH=. python benchmarks/record_recipes.py artifacts --json recipes.json

row      the record's grid at PR #1493's clips times a factor, packed by Brotli 11 ("published") and by our coder
tuned    the same grid and our coder, clips chosen on dev (``rate_distortion``)
scalar   the row_column grid, rounding with the rate term
trellis  the same grid, trellis-coded with the rate term (``trellis``)

All are scored on plain windows of the same first targets of val. For each setting of ``row`` the ratios say what each
recipe takes of another's bytes at that divergence (``rate_distortion.summarize``), with intervals over documents.

--json holds

    weights, parameters  quantized weights, and all of the model
    targets, documents   of val that were scored
    points               recipe, setting, bytes by codec, kl in nats per token, bpb_increase and its half_width; of the
                         row grid also bits_per_weight, the entropy of its codes, and order_0_bytes, the file's by it
    comparisons          setting of row, kl, and ratios by "ours / theirs": value, low, high
    at_limit             of scalar and trellis, which rate control makes fill the limit: base_step, bytes, max_bytes,
                         n_solves, unused_frac, seconds of all solves, and a point's kl, bpb_increase, half_width
    code_bytes           of the bundle with each recipe's code
    weights_that_fit     for each setting of row and each recipe: bytes at that divergence, bytes_per_weight (that over
                         all parameters) and weights: the limit without the code over it; null outside the range

Every point goes to --cache as soon as it is measured.
"""

import argparse
import dataclasses
import itertools
from argparse import Namespace
from pathlib import Path
from typing import Any

import rate_control
import rate_distortion
import trellis
from divergence import PointCache
from rate_curves import Curve, bytes_at
from run_artifacts import ROOT, identify_run

from golf.artifacts import io
from golf.config import loader
from golf.quantization.trellis import Coding
from golf.submission.bundle import packing

STEPS = (  # as rate_distortion.STEPS
    ("published", "row", "brotli"),
    ("coder", "row", "ans"),
    ("clips", "tuned", "ans"),
    ("scalar", "scalar", "ans"),
    ("trellis", "trellis", "ans"),
)
FORMS = {"scalar": "scalar:0.05", "trellis": "8:0.05"}  # as trellis.FORMS
BASE_STEPS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4)
ROW_GRID = {"grid": "row", "coding": "scalar", "rate_weight": 0.0}
CODE_SETTINGS: dict[str, tuple[dict[str, object], str]] = {  # of quantize, and compress.codec, by the name of a step
    "published": (ROW_GRID, "brotli"),
    "coder": (ROW_GRID, "ans"),
    "clips": (ROW_GRID, "ans"),
    "scalar": ({"grid": "row_column", "coding": "scalar", "rate_weight": 0.05}, "ans"),
    "trellis": ({"grid": "row_column", "coding": "trellis", "trellis_states": 8, "rate_weight": 0.05}, "ans"),
}
OWN_SOURCES = ("benchmarks/record_recipes.py", "benchmarks/rate_control.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", type=Path, help="artifacts folder of fetch, train, ema and calibrate")
    parser.add_argument("--tokens", type=int, default=24_576, help="of val, to score (%(default)s)")
    parser.add_argument("--tune-tokens", type=int, default=4_096, help="of dev, to choose clips (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("runs/record_recipes.jsonl"), help="(%(default)s)")
    parser.add_argument("--json", required=True, help="where the figures go")
    args = parser.parse_args()
    cfg, cache = loader.load_config(), PointCache(args.cache)
    recipes = Recipes(args, cache)
    settings = {name: dataclasses.asdict(getattr(cfg, name)) for name in packing.SECTIONS}
    code_bytes = weigh_code(settings)
    at_limit = recipes.fill_limit(cfg, code_bytes)
    points = recipes.measure_points()
    curves, n_parameters = rate_distortion.make_curves(points, STEPS), recipes.n_parameters
    summary = rate_distortion.summarize(points, STEPS)
    rate_distortion.print_comparisons(summary["comparisons"])
    targets = [(point["setting"], point["kl"]) for point in points if point["recipe"] == "row"]
    fit_args = code_bytes, cfg.compress.limit_bytes, n_parameters, int(sum(points[0]["tokens"]))
    figures = {
        "weights": recipes.n_weights,
        "parameters": n_parameters,
        "targets": int(sum(points[0]["tokens"])),
        "documents": len(points[0]["tokens"]),
        **summary,
        "at_limit": [row | find_point(summary["points"], row) for row in at_limit],
        "code_bytes": code_bytes,
        "weights_that_fit": count_weights_that_fit(curves, targets, *fit_args),
    }
    io.write_json(args.json, figures)


class Recipes:
    """The recipes of one run, by the two benchmarks that quantize for them."""

    def __init__(self, args: Namespace, cache: PointCache) -> None:
        self._args, self._row = args, make_row_run(args.artifacts, cache, args.tokens)
        self._column = trellis.MeasuredRun(args.artifacts, cache, Namespace(split="val", tokens=args.tokens))
        self._identity, self._cache = identify_run(args.artifacts, *OWN_SOURCES), cache
        self._base_steps = {recipe: set(BASE_STEPS) for recipe in FORMS}
        self.n_weights = self._row.n_weights
        self.n_parameters = sum(tensor.numel() for tensor in self._row.artifacts.state_dict.values())

    def fill_limit(self, cfg: loader.Config, code_bytes: dict[str, int]) -> list[dict[str, Any]]:
        """The rows of at_limit, without their points. The base steps that they find are measured as points too."""
        rows = []
        for recipe, form in FORMS.items():
            coding, max_bytes = trellis.parse_form(form), cfg.compress.limit_bytes - code_bytes[recipe]
            key = self._identity | {"fill": form, "max_bytes": max_bytes}
            row = self._cache.get(key)
            if row is None:
                quantize = dataclasses.replace(cfg.quantize, base_step=None, **describe_coding(coding))
                row = rate_control.fill_limit(self._row.artifacts, quantize, max_bytes)
                self._cache.add(key, row)
            print(f"  {recipe} fills {max_bytes:,} bytes to {row['unused_frac']:.4%} in {row['n_solves']} solves")
            self._base_steps[recipe].add(row["base_step"])
            rows.append({"recipe": recipe, "max_bytes": max_bytes, **row})
        return rows

    def measure_points(self) -> list[dict[str, Any]]:
        """All points on val, the full-precision model first."""
        points = [self._row.measure("full precision", None, "val")]
        points += [self._row.measure("row", setting, "val") for setting in self._row.settings("row")]
        clips = make_row_run(self._args.artifacts, self._cache, self._args.tune_tokens).tune_clips()
        points += [self._row.measure("tuned", pair, "val", codecs=("ans",)) for pair in clips]
        for recipe, form in FORMS.items():
            for base_step in sorted(self._base_steps[recipe]):
                point = self._column.measure(form, base_step)
                points.append(
                    point | {"recipe": recipe, "setting": format_base_step(base_step), "bytes": {"ans": point["bytes"]}}
                )
        return points


def make_row_run(artifacts: Path, cache: PointCache, tokens: int) -> rate_distortion.MeasuredRun:
    options = {"codecs": rate_distortion.CODECS, "damping_frac": trellis.DAMPING_FRAC, "device": "cpu"}
    return rate_distortion.MeasuredRun(artifacts, cache, Namespace(**options, tokens=tokens))


def describe_coding(coding: Coding) -> dict[str, Any]:
    """The keys of the section quantize that choose a coding of the row_column grid."""
    keys: dict[str, Any] = {"grid": "row_column", "rate_weight": coding.rate_weight, "coding": "scalar"}
    if coding.trellis_states is not None:
        keys |= {"coding": "trellis", "trellis_states": coding.trellis_states}
    return keys


def weigh_code(settings: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Bytes of the bundle, which trains, quantizes and scores, with the code of each recipe."""
    sizes = {}
    for name, (quantize, codec) in CODE_SETTINGS.items():
        changed = settings | {
            "quantize": settings["quantize"] | quantize,
            "compress": settings["compress"] | {"codec": codec},
        }
        sizes[name] = len(packing.pack_bundle(changed, ROOT))
    return sizes


def format_base_step(base_step: float) -> str:
    return f"{base_step:.6g}"


def find_point(points: list[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    """kl, bpb_increase and half_width of the point at the base step that filled the limit."""
    setting = format_base_step(row["base_step"])
    (point,) = [p for p in points if (p["recipe"], p["setting"]) == (row["recipe"], setting)]
    return {key: point[key] for key in ("kl", "bpb_increase", "half_width")}


def count_weights_that_fit(
    curves: dict[str, Curve],
    targets: list[tuple[str, list[float]]],
    code_bytes: dict[str, int],
    limit_bytes: int,
    n_parameters: int,
    n_tokens: int,
) -> list[dict[str, Any]]:
    """The rows of weights_that_fit. targets: setting and nats of divergence by document, of each point of row."""
    rows = []
    for (setting, kl_D), (name, curve) in itertools.product(targets, curves.items()):
        kl = sum(kl_D) / n_tokens
        size = bytes_at(curve.bytes, curve.kl.sum(axis=1) / n_tokens, kl)
        per_weight = None if size is None else size / n_parameters
        weights = None if per_weight is None else int((limit_bytes - code_bytes[name]) / per_weight)
        rows.append({"setting": setting, "kl": kl, "recipe": name, "bytes": size, "code_bytes": code_bytes[name]})
        rows[-1] |= {"bytes_per_weight": per_weight, "weights": weights}
    return rows


if __name__ == "__main__":
    main()
