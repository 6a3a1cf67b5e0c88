"""The record model on one GPU, from text to a file of 16,000,000 bytes. ``python benchmarks/record_run.py --help``

Runs every stage as its own command in a scratch copy of this working tree, with the record profile changed by
PARAM_OVERRIDES: one rank, smaller batches, and the row_column grid with the ANS coder, which fills the limit. After
each stage it copies its results to --out, so that an interrupted run leaves what it has: params.yaml, the training
log, the table of tensors, model.golf and the verdict, and finally the metrics and the rate-distortion table of the
same weights.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hardware
import torch
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.config import loader
from golf.errors import ConfigError

ROOT = Path(__file__).parents[1]
STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
COPIED_PATHS = ("golf", "stages", "dvc.yaml")
COLLECTED_FILES = {  # name in --out: path in the scratch copy
    "params.yaml": "params.yaml",
    "train_log.csv": "artifacts/train/log.csv",
    "tensors.csv": "artifacts/quantize/tensors.csv",
    "model.golf": "artifacts/compress/model.golf",
    "verdict.json": "artifacts/evaluate/verdict.json",
}
PARAM_OVERRIDES = {
    "fetch.source": "files",
    "fetch.val_percent": 1.0,
    "fetch.dev_percent": 0.5,
    "fetch.held_out": "documents",  # as the contest's own split
    "fetch.shard_tokens": 10_000_000,
    "train.ranks": 1,
    "train.reserve_s": 15.0,
    "train.batch_tokens": 196_608,
    "train.muon_momentum_warmup_steps": 500,
    "train.checkpoint_every": None,
    "train.dev_every": 500,
    "train.dev_tokens": 65_536,
    "ttt.ranks": 1,
    "calibrate.ranks": 1,
    "calibrate.batches": 16,
    "calibrate.batch_tokens": 98_304,
    "calibrate.sensitivity_tokens": 98_304,
    "quantize.grid": "row_column",
    "compress.codec": "ans",
    "compress.code_reserve_bytes": 50_000,  # of the bundle, with the code of this grid and this coder
    "evaluate.ranks": 1,
    "evaluate.limit_s": None,
}
NOT_RUN_ROW = {"status": "NOT-RUN", "seconds": 0.0}
RECIPES = ("row", "rows")  # with our coder: Brotli 11 would take a minute for each setting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="folder of .txt and .jsonl files, plain or compressed")
    parser.add_argument("--tokenizer", default="train", help="a SentencePiece model; train: train one (%(default)s)")
    parser.add_argument("--minutes", type=float, default=5, help="of training, without calibration (5)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--profile", type=Path, default=ROOT / "profiles" / "record.yaml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more changes to the profile")
    parser.add_argument(
        "--curve-tokens", type=int, default=100_000, help="of val, for the rate-distortion table; 0: no table (100,000)"
    )
    parser.add_argument("--curve-seconds", type=float, default=180, help="limit for the table (180)")
    parser.add_argument("--json", type=Path, help="also write the measurements here, for docs/performance.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="record_run.") as scratch:
        result = run_pipeline(args, Path(scratch))
    io.write_json(args.out / "record_run.json", result)
    complete = all(stage["status"] == "ok" for stage in result["stages"].values())
    if args.json and complete:
        io.write_json(args.json, result)
    return 0 if complete else 1


def run_pipeline(args, work_dir: Path) -> dict:
    """Status, seconds and metrics of all stages. A stage that fails ends the run; the stages after it are NOT-RUN."""
    cfg = copy_project(work_dir, make_params(args.profile, param_overrides(args)))
    device = torch.device("cuda" if cfg.train.device != "cpu" and torch.cuda.is_available() else "cpu")
    stage_results = {}
    for stage, row in run_stages(work_dir, math.inf):
        stage_results[stage] = row
        collect_files(work_dir, args.out)
    if args.curve_tokens:
        is_complete = all(row["status"] == "ok" for row in stage_results.values())
        curve = run_rate_distortion(args, work_dir, device) if is_complete else NOT_RUN_ROW
        stage_results["rate-distortion"] = curve
    metadata = hardware.describe_machine(device) | {"profile": cfg.profile, "text": args.text.name}
    return metadata | collect_metrics(work_dir) | {"stages": stage_results}


def copy_project(work_dir: Path, params_tree: dict) -> loader.Config:
    """Copy the code of this working tree into ``work_dir`` with these params; return them, checked."""
    for name in COPIED_PATHS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, work_dir / name)
    with open(work_dir / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params_tree, file)
    return loader.load_config(work_dir / "params.yaml")


def run_stages(work_dir: Path, deadline_s: float) -> Iterator[tuple[str, dict]]:
    """Run the stages in order; yield the name of each with its status and seconds, NOT-RUN after one that failed.

    deadline_s: of ``time.monotonic``, at which the stage that runs is ended.
    """
    row = {"status": "ok"}
    for stage in STAGES:
        row = (
            run_timed([sys.executable, "-m", f"stages.{stage}"], work_dir, deadline_s - time.monotonic())
            if row["status"] == "ok"
            else NOT_RUN_ROW
        )
        yield stage, row


def param_overrides(args) -> dict[str, object]:
    """PARAM_OVERRIDES, then the other arguments, then --set, which takes precedence."""
    cli_overrides = [pair.partition("=") for pair in args.set]
    tokenizer = "train" if args.tokenizer == "train" else str(Path(args.tokenizer).resolve())
    text = {"fetch.path": str(args.text.resolve()), "fetch.tokenizer": tokenizer}
    limit = {"train.limit_s": 60 * args.minutes + PARAM_OVERRIDES["train.reserve_s"]}
    return (
        PARAM_OVERRIDES
        | text
        | limit
        | {key: YAML(typ="safe", pure=True).load(value) for key, _, value in cli_overrides}
    )


def make_params(profile: Path, overrides: dict[str, object]) -> dict:
    """The profile with dotted keys set. Raises ConfigError for a key that it does not have."""
    params_tree = YAML(typ="safe", pure=True).load(profile.read_text(encoding="utf-8"))
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if key not in params_tree.get(section, ()):
            raise ConfigError(f"--set {dotted}: no such key in {profile}; expected section.key=value")
        params_tree[section][key] = value
    return params_tree


def run_timed(command: list[str], folder: Path, limit_s: float) -> dict:
    """Status and seconds of a command, which is killed after ``limit_s``; infinity is no limit."""
    start_s = time.monotonic()
    if limit_s <= 0:
        return NOT_RUN_ROW | {"status": "NOT-RUN, no time was left"}
    try:
        timeout_s = None if math.isinf(limit_s) else limit_s
        exit_code = subprocess.run(command, cwd=folder, timeout=timeout_s, check=False).returncode
        status = "ok" if exit_code == 0 else f"failed, exit code {exit_code}"
    except subprocess.TimeoutExpired:
        status = f"NOT-RUN, exceeded {limit_s:.0f} s"
    return {"status": status, "seconds": round(time.monotonic() - start_s, 1)}


def collect_files(work_dir: Path, out_dir: Path) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, path in COLLECTED_FILES.items():
        if (work_dir / path).is_file():
            shutil.copyfile(work_dir / path, out_dir / name)


def run_rate_distortion(args, work_dir: Path, device: torch.device) -> dict:
    """Write rate_distortion.json to --out: bytes against divergence of these weights, the record's grid and ours."""
    script, json_path = ROOT / "benchmarks" / "rate_distortion.py", (args.out / "rate_distortion.json").resolve()
    options = [
        "--device",
        device.type,
        "--tokens",
        str(args.curve_tokens),
        "--json",
        str(json_path),
        "--codecs",
        "ans",
        "--recipes",
        *RECIPES,
    ]
    return run_timed([sys.executable, str(script), "artifacts", *options], work_dir, args.curve_seconds)


def collect_metrics(work_dir: Path) -> dict:
    """The metrics of the stages that ran: steps and seconds of training, and everything from evaluate."""
    metrics = {}
    if (work_dir / "artifacts/train/metrics.json").is_file():
        train_metrics = io.read_json(work_dir / "artifacts/train/metrics.json")
        metrics |= {"steps": train_metrics["steps"], "train_seconds": train_metrics["seconds"], "train": train_metrics}
    for name, path in {"metrics": "evaluate/metrics.json", "sizes": "compress/sizes.json"}.items():
        if (work_dir / "artifacts" / path).is_file():
            metrics[name] = io.read_json(work_dir / "artifacts" / path)
    return metrics


if __name__ == "__main__":
    sys.exit(main())
