"""Bytes against divergence: the record's recipe, each of our steps, and what each step saves, on the same weights.

    PYTHONPATH=. python benchmarks/rate_distortion.py laptop=RUNS/laptop-314 laptop=RUNS/laptop-42 prose=RUNS/prose-314

quantizes the weights of each run with each recipe at several settings, and packs like compress. MODEL=FOLDER names what
was trained; folders of one MODEL are its seeds. The measure is KL(full precision ‖ quantized) in nats per token over
plain windows of val, which does not depend on the luck of the targets; bpb stands beside it with its paired interval.

row      a scale for each row by SDClip, both of PR #1493's clips times a factor (docs/references.md#sdclip)
tuned    the same grid, with the clips of the matrices and of the embedding chosen on dev: the lower hull of bytes and
         divergence over all pairs of TUNED_CLIPS, with our coder
tensors  one step for each tensor, from its sensitivity
columns  the same, and a scale for each column (WaterSIC, arXiv:2603.04956)
rows     the same, and a scale for each row, from the sensitivity: quantize.grid: row_column

Each is packed by Brotli 11 and by our coder. For each setting of ``row`` the script prints the bytes of every recipe at
its divergence, as ratios (``rate_curves``): what the coder, the clips, tensors, columns and rows save in turn, then our
grid against the published and the tuned recipe, with intervals over documents and over seeds. No point is dropped.

A run is the artifacts folder of fetch, train, ema and calibrate, in a scratch copy of this repository:

    cp profiles/laptop.yaml params.yaml     # and set the keys below
    for stage in fetch train ema calibrate; do python -m stages.$stage; done
    mv artifacts RUNS/laptop-314

laptop   train.seed 314, 42 and 1337, train.limit_s null, so that the weights have the committed number of steps
prose    the same; fetch.source files, fetch.path a folder with 5 MB of English prose and documentation,
         model.n_layers 6, model.recur_start 2, model.recur_end 3, model.recur_passes 2

Every point goes to --cache as soon as it is measured, so an interrupted script continues where it was. A point is
measured again when the run's files, the tokens, or the code that quantizes, packs and scores have changed.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from divergence import DivergenceScorer, PointCache
from rate_curves import ByteRatio, Curve, compare_bytes, format_ratio, lower_hull, pool_over_seeds
from run_artifacts import RunArtifacts, identify_run

from golf.artifacts import io
from golf.compression import quantized_tensor, writer
from golf.evaluation.significance import PairedDifference
from golf.quantization import codes_io, report, solver
from golf.quantization.column_scales import ColumnScales

CLIPS = (12.85, 20.0)  # PR #1493: of matrices and of the embedding, in standard deviations
CLIP_FACTORS = (0.8, 1.0, 1.4, 2.0, 2.8)
TUNED_CLIPS = tuple(
    tuple(round(clip * 2 ** (k / 2), 2) for k in range(low, 5)) for clip, low in zip(CLIPS, (-1, -3), strict=True)
)
BASE_STEPS = (0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8)
RECIPES, CODECS = ("row", "tuned", "tensors", "columns", "rows"), ("brotli", "ans")
STEPS = (  # what is compared with the one before it: name, recipe, codec
    ("published", "row", "brotli"),
    ("coder", "row", "ans"),
    ("clips", "tuned", "ans"),
    ("tensors", "tensors", "ans"),
    ("columns", "columns", "ans"),
    ("rows", "rows", "ans"),
)
POINT_KEYS = ("recipe", "setting", "bits_per_weight", "order_0_bytes", "bytes")
OWN_SOURCES = ("benchmarks/divergence.py", "benchmarks/rate_distortion.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="MODEL=FOLDER", help="artifacts folders; see the module's docstring")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES, metavar="RECIPE")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=CODECS, metavar="CODEC")
    parser.add_argument("--damping-frac", type=float, default=0.01, help="of the Hessian's mean diagonal (%(default)s)")
    parser.add_argument("--tokens", type=int, help="tokens of val, and of dev, to score (all)")
    parser.add_argument("--device", default="cpu", help="for scoring (%(default)s); quantization stays on the CPU")
    parser.add_argument("--cache", type=Path, default=Path("runs/rate_distortion.jsonl"), help="(%(default)s)")
    parser.add_argument("--json", help="also write the points and comparisons here")
    parser.add_argument("--csv", help="also write the curves here, for dvc plots")
    args = parser.parse_args()
    cache, results = PointCache(args.cache), []
    for model_name, folder in (split_run_argument(text) for text in args.runs):
        run = MeasuredRun(folder, cache, args)
        print(f"{folder} ({model_name}): {run.n_weights:,} weights", flush=True)
        points = [run.measure("full precision", None, "val")]
        for recipe in args.recipes:
            points += [run.measure(recipe, setting, "val") for setting in run.settings(recipe)]
        results.append({"model": model_name, "run": str(folder), **summarize(points)})
        print_points(results[-1]["points"])
        print_comparisons(results[-1]["comparisons"])
    pooled = pool_comparisons(results)
    print_pooled(pooled)
    if args.json:
        io.write_json(args.json, {"threads": torch.get_num_threads(), "runs": results, "seeds": pooled})
    if args.csv:
        io.write_csv(args.csv, [row for result in results for row in to_csv_rows(result)])


def split_run_argument(text: str) -> tuple[str, Path]:
    """(model, folder) of MODEL=FOLDER; a folder alone is its own model."""
    model_name, separator, folder = text.partition("=")
    return (model_name, Path(folder)) if separator else (text, Path(text))


class MeasuredRun:
    """A run's weights, Hessians and sensitivities, quantized by any recipe and scored on any split."""

    def __init__(self, folder: Path, cache: PointCache, args: argparse.Namespace):
        self.folder, self.cache, self.args = folder, cache, args
        self.artifacts = RunArtifacts.load(folder)
        self.n_weights = sum(self.artifacts.state_dict[name].numel() for name in self.artifacts.input_names)
        self._batches = solver.build_batches(
            self.artifacts.state_dict, self.artifacts.hessians, self.artifacts.input_names, args.damping_frac
        )
        self._scorers: dict[str, DivergenceScorer] = {}
        self._row_codes: dict[tuple[bool, float], dict] = {}
        settings = {"damping_frac": args.damping_frac, "tokens": args.tokens}
        self._identity = identify_run(folder, *OWN_SOURCES) | settings

    def settings(self, recipe: str) -> list:
        """The clips or base steps at which a recipe is measured on val."""
        if recipe == "row":
            return [tuple(round(factor * clip, 2) for clip in CLIPS) for factor in CLIP_FACTORS]
        return self.tune_clips() if recipe == "tuned" else list(BASE_STEPS)

    def tune_clips(self) -> list[tuple[float, float]]:
        """Pairs of clips, of the matrices and the embedding, on the lower hull of bytes and divergence on dev."""
        pairs = list(itertools.product(*TUNED_CLIPS))
        points = [self.measure("tuned", pair, "dev", codecs=("ans",)) for pair in pairs]
        kl = [sum(point["kl"]) for point in points]
        chosen = [pairs[i] for i in lower_hull(np.array([point["bytes"]["ans"] for point in points]), np.array(kl))]
        print(f"  clips chosen on dev, of {len(pairs)} pairs: {', '.join(map(str, chosen))}", flush=True)
        for index, tuned_class in enumerate(("matrices", "embedding")):
            in_use = {pair[index] for pair in chosen[1:-1]}  # the ends of the hull are at the ends of the grid
            for clip in in_use & {min(TUNED_CLIPS[index]), max(TUNED_CLIPS[index])}:
                print(f"  clip {clip} of the {tuned_class} is the last of TUNED_CLIPS: more of them may be better")
        return chosen

    def measure(self, recipe: str, setting, split: str, codecs: tuple[str, ...] | None = None) -> dict:
        """A point, from the cache if it is there: bytes by codec, and by document nats of divergence, bits and bytes.

        order_0_bytes: the file's with the codes of each tensor under its own histogram.
        """
        codecs = codecs or tuple(self.args.codecs)
        key = self._identity | {"recipe": recipe, "setting": setting, "split": split, "codecs": list(codecs)}
        point = self.cache.get(key)
        if point is None:
            if split not in self._scorers:
                self._scorers[split] = DivergenceScorer(
                    self.artifacts, self.folder, split, self.args.tokens, self.args.device
                )
            point = {"recipe": recipe, "setting": str(setting)} | self._measure(recipe, setting, split, codecs)
            self.cache.add(key, point)
        sizes = ", ".join(f"{codec} {size:,}" for codec, size in point["bytes"].items())
        kl_per_token = sum(point["kl"]) / sum(point["tokens"])
        print(f"  {split} {recipe:<14} {point['setting']:<14} KL {kl_per_token:.3e}   bytes: {sizes}", flush=True)
        return point

    def _measure(self, recipe: str, setting, split: str, codecs: tuple[str, ...]) -> dict:
        if recipe == "full precision":
            return {"bytes": {}, **self._scorers[split].score(self.artifacts.state_dict)}
        quantized = self._quantize(recipe, setting)
        stored = codes_io.to_storage(quantized, self.artifacts.unquantized)
        others = {name: tensor for name, tensor in stored.items() if not name.endswith(quantized_tensor.CODES_SUFFIX)}
        bits = sum(report.compute_empirical_entropy(pair.codes) * pair.codes.numel() for pair in quantized.values())
        return {
            "bytes": {codec: self._pack(stored, codec) for codec in codecs},
            "bits_per_weight": bits / self.n_weights,
            "order_0_bytes": round(bits / 8) + self._pack(others, "ans"),
            **self._scorers[split].score(quantized_tensor.dequantize_state_dict(stored)),
        }

    def _pack(self, tensors: dict, codec: str) -> int:
        options = {"upstream_splits": ("train",), "codec": codec, "brotli_quality": 11}
        return len(writer.pack(tensors, self.artifacts.model_cfg, **options))

    def _quantize(self, recipe: str, setting) -> dict:
        if recipe in ("row", "tuned"):
            return self._quantize_class(False, setting[0]) | self._quantize_class(True, setting[1])
        weights, sensitivity = self.artifacts.state_dict, self.artifacts.sensitivity
        if recipe != "rows":
            sensitivity = {name: a_O.mean().expand_as(a_O) for name, a_O in sensitivity.items()}
        diagonals = {
            name: diag_I if recipe != "tensors" else diag_I.log().mean().exp().expand_as(diag_I)
            for batch in self._batches
            for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True)
            for name in names
        }
        column_scales = ColumnScales.from_sensitivity(weights, diagonals, sensitivity)
        return solver.quantize_with_column_scales(self._batches, weights, column_scales, setting, 128)

    def _quantize_class(self, is_embed: bool, clip: float) -> dict:
        """The row grid for the embedding, or for all other matrices."""
        if (is_embed, clip) not in self._row_codes:
            cfg = SimpleNamespace(block_size=128, matrix_bits=6, matrix_clip=clip, embed_bits=8, embed_clip=clip)
            batches = [batch for batch in self._batches if (batch.kind == "embed") == is_embed]
            weights = self.artifacts.state_dict
            self._row_codes[is_embed, clip] = solver.quantize_with_row_scales(batches, weights, cfg)
        return self._row_codes[is_embed, clip]


def summarize(points: list[dict], steps: Sequence[tuple[str, str, str]] = STEPS) -> dict:
    """Every point with its totals, and the comparisons at the divergence of each setting of the first step's recipe.

    points: those of one run on val, the full-precision model first. steps: as STEPS.
    """
    reference, *points = points
    tokens_D, bytes_D = np.array(reference["tokens"]), np.array(reference["target_bytes"], np.int64)
    rows = []
    for point in points:
        change = PairedDifference(np.array(point["bits"]) - np.array(reference["bits"]), bytes_D).bpb_difference
        rows.append(
            {key: point[key] for key in POINT_KEYS if key in point}
            | {"kl": sum(point["kl"]) / tokens_D.sum(), "bpb_increase": change.value, "half_width": change.half_width}
        )
    curves = make_curves(points, steps)
    targets = [point for point in points if point["recipe"] == "row"] if len(curves) > 1 else []
    return {"points": rows, "comparisons": [compare_at(target, curves, tokens_D) for target in targets]}


def make_curves(points: list[dict], steps: Sequence[tuple[str, str, str]] = STEPS) -> dict[str, Curve]:
    """The curve of each step that was measured, by its name."""
    curves = {}
    for name, recipe, codec in steps:
        measured = [point for point in points if point["recipe"] == recipe and codec in point["bytes"]]
        if measured:
            sizes = np.array([point["bytes"][codec] for point in measured])
            curves[name] = Curve(sizes, np.array([point["kl"] for point in measured]))
    return curves


def compare_at(target: dict, curves: dict[str, Curve], tokens_D: np.ndarray) -> dict:
    """Byte ratios at a point's divergence: each step against the one before, and the last against two baselines."""
    names = list(curves)
    pairs = [(after, before) for before, after in itertools.pairwise(names)]
    pairs += [(names[-1], base) for base in ("published", "coder", "clips") if base in names[:-2]]
    kl_D = np.array(target["kl"])
    ratios = {
        f"{ours} / {base}": dataclasses.asdict(compare_bytes(curves[ours], curves[base], kl_D, tokens_D))
        for ours, base in pairs
    }
    kl = float(kl_D.sum() / tokens_D.sum())
    return {"setting": target["setting"], "kl": kl, "ratios": ratios}


def pool_comparisons(results: list[dict]) -> list[dict]:
    """For each model of several runs and each setting: the geometric mean of each ratio, with its interval."""
    pooled = []
    for model_name, runs in io.group_by(results, "model").items():
        for same_setting in zip(*(run["comparisons"] for run in runs), strict=True) if len(runs) > 1 else ():
            names = same_setting[0]["ratios"]
            ratios = {name: pool_over_seeds([row["ratios"][name]["value"] for row in same_setting]) for name in names}
            row = {"model": model_name, "setting": same_setting[0]["setting"], "runs": len(runs)}
            pooled.append(row | {"ratios": {name: dataclasses.asdict(ratio) for name, ratio in ratios.items()}})
    return pooled


def print_points(points: list[dict]) -> None:
    print("  recipe   setting         bits a weight  KL, nats per token  increase in bpb, by document  bytes")
    for row in points:
        half_width = "" if row["half_width"] is None else f" ± {row['half_width']:.5f}"
        sizes = ", ".join(f"{codec} {size:,}" for codec, size in row["bytes"].items())
        print(
            f"  {row['recipe']:<8} {row['setting']:<15} {row['bits_per_weight']:>13.3f}  {row['kl']:>18.3e}  "
            f"{row['bpb_increase']:+.5f}{half_width:<20} {sizes}"
        )


def print_comparisons(comparisons: list[dict]) -> None:
    for row in comparisons:
        print(f"  bytes at the divergence of row {row['setting']}, {row['kl']:.3e} nats per token (over documents)")
        print_ratios(row["ratios"])


def print_pooled(pooled: list[dict]) -> None:
    for row in pooled:
        print(f"{row['model']}, {row['runs']} runs: bytes at the divergence of row {row['setting']} (over seeds)")
        print_ratios(row["ratios"])


def print_ratios(ratios: dict[str, dict]) -> None:
    for name, ratio in ratios.items():
        print(f"    {name:<19} {format_ratio(ByteRatio(**ratio))}", flush=True)


def to_csv_rows(result: dict) -> list[dict]:
    """A row for each point and codec."""
    return [
        {"run": result["run"], "recipe": f"{row['recipe']}, {codec}", "bytes": size}
        | {key: value for key, value in row.items() if key not in ("recipe", "bytes")}
        for row in sorted(result["points"], key=lambda row: RECIPES.index(row["recipe"]))
        for codec, size in row["bytes"].items()
    ]


if __name__ == "__main__":
    main()
