"""``make record-check``: on one GPU, in 15 minutes and without DVC, what the record's model takes beside its forecast.

Times steps before and after depth recurrence starts (train_step.py), then runs every stage of record_run.py's
configuration on the docstrings of golf's packages, from text to a file of 16,000,000 bytes, and prints each figure
beside that of ``golf preflight``. The scores mean nothing: the text is small and training lasts minutes. What no time
was left for says NOT-RUN. ``--device cpu --profile tiny`` is the same with a model of 42,000 parameters, in a minute.
Writes results/record_check.<profile>.<machine>.json.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import hardware
import record_run
import torch

from golf.artifacts import io
from golf.cli.preflight import forecast
from golf.cli.preflight.forecast import Forecast
from golf.config.loader import Config
from golf.model import flops

RESULTS_DIR = Path(__file__).parent / "results"
STEP_SCRIPT = Path(__file__).parent / "train_step.py"
RECORD_PROFILE = record_run.ROOT / "profiles" / "record.yaml"
STEP_LIMIT_SHARE = 1 / 3  # of the minutes, for the steps alone
STAGE_OF_ROW = {"train": "train", "calibrate": "calibrate", "quantize": "quantize", "compress": "compress"}
OVERRIDES = {"fetch.source": "docs", "fetch.val_percent": 5.0, "fetch.dev_percent": 2.0}
CPU_EXECUTION = {"device": "cpu", "compile": "off", "dtype": "float32"}
TINY_OVERRIDES = {
    "fetch.source": "stdlib",
    "fetch.val_percent": 2.0,
    "fetch.dev_percent": 2.0,
    **{f"{stage}.{key}": value for stage in ("train", "ema", "ttt", "calibrate", "evaluate")
       for key, value in CPU_EXECUTION.items()},
    "model.vocab_size": 512,
    "model.n_layers": 3,
    "model.d_model": 32,
    "model.n_heads": 4,
    "model.n_kv_heads": 2,
    "model.d_ff": 64,
    "model.context_length": 64,
    "model.rope_dims": 4,
    "model.recur_start": 1,
    "model.recur_end": 1,
    "model.parallel_residual_from": 2,
    "train.batch_tokens": 1024,
    "train.micro_batch_tokens": 512,
    "train.muon_momentum_warmup_steps": 10,
    "train.reserve_s": 1.0,
    "train.log_every": 10,
    "train.dev_every": None,
    "train.dev_tokens": 1024,
    "ema.eval_batch_tokens": 4096,
    "ttt.stride": 32,
    "ttt.eval_batch_tokens": 2048,
    "ttt.chunk_tokens": 1024,
    "ttt.batch_tokens": 1024,
    "calibrate.batches": 2,
    "calibrate.batch_tokens": 1024,
    "calibrate.micro_batch_tokens": 512,
    "calibrate.sensitivity_tokens": 1024,
    "quantize.min_weights": 256,
    "compress.limit_bytes": 100_000,
    "evaluate.stride": 32,
    "evaluate.eval_batch_tokens": 2048,
    "evaluate.proof_places": 1,
}  # fmt: skip
PROFILES = {"record": OVERRIDES, "tiny": TINY_OVERRIDES}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--profile", choices=tuple(PROFILES), default="record", help="tiny: a small model (%(default)s)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="%(default)s")
    parser.add_argument("--minutes", type=float, default=15, help="for everything (%(default)s)")
    parser.add_argument("--train-minutes", type=float, default=3, help="of training (%(default)s)")
    parser.add_argument("--text", type=Path, help="folder of .txt and .jsonl files, instead of the docstrings")
    parser.add_argument("--results", type=Path, default=RESULTS_DIR, help="folder for the figures (%(default)s)")
    args = parser.parse_args(argv)
    deadline_s = time.monotonic() + 60 * args.minutes
    if args.device == "cuda" and not torch.cuda.is_available():
        print(
            "record-check: NOT-RUN, torch finds no GPU; the same on a CPU with a small model: PYTHONPATH=. python "
            "benchmarks/record_check.py --device cpu --profile tiny",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="record_check.") as scratch:
        result = check_machine(args, Path(scratch), deadline_s)
    path = args.results / f"record_check.{result['profile']}.{result['slug']}.json"
    io.write_json(path, result)
    print(format_table(result), f"written to {path}", sep="\n")
    return 0 if all(stage["status"] == "ok" for stage in result["stages"].values()) else 1


def check_machine(args: argparse.Namespace, work_dir: Path, deadline_s: float) -> dict:
    """Forecast and measure; rows hold (figure, unit, forecast, measured), None for what is NOT-RUN."""
    cfg = record_run.copy_project(work_dir, record_run.make_params(RECORD_PROFILE, make_overrides(args)))
    device = torch.device(args.device)
    machine = hardware.describe_machine(device)
    stages = {"steps": time_steps(work_dir, deadline_s - time.monotonic())}
    stages |= record_run.run_stages(work_dir, deadline_s)
    tokens = read_split_tokens(work_dir)
    hardware_name = choose_hardware(machine["machine"], device)
    made = forecast.make_forecast(cfg, hardware_name, split_tokens=tokens)
    measured = record_run.collect_metrics(work_dir)
    rows = [*list_step_rows(cfg, made, work_dir / "step.json"), *list_run_rows(made, measured, stages)]
    return {
        **machine,
        "profile": args.profile,
        "forecast_for": hardware_name,
        "calibration": made.record["calibration"],
        "split_tokens": tokens,
        "stages": stages,
        "rows": [dict(zip(("figure", "unit", "forecast", "measured"), row, strict=True)) for row in rows],
    }


def make_overrides(args: argparse.Namespace) -> dict[str, object]:
    """The changes to the record profile, by dotted key."""
    overrides = record_run.PARAM_OVERRIDES | PROFILES[args.profile]
    if args.device == "cpu":
        overrides |= {f"{stage}.device": "cpu" for stage in ("train", "ema", "ttt", "calibrate", "evaluate")}
    if args.text:
        overrides |= {"fetch.source": "files", "fetch.path": str(args.text.resolve())}
    return overrides | {"train.limit_s": 60 * args.train_minutes + float(str(overrides["train.reserve_s"]))}


def time_steps(work_dir: Path, seconds_left: float) -> dict:
    """Time steps without and with recurrence in a process of its own, which writes step.json."""
    command = [sys.executable, str(STEP_SCRIPT), "--profile", "params.yaml", "--ours-only", "--turns", "2"]
    return record_run.run_timed([*command, "--json", "step.json"], work_dir, STEP_LIMIT_SHARE * seconds_left)


def read_split_tokens(work_dir: Path) -> dict[str, int]:
    """Tokens of dev and val; empty when fetch did not end."""
    paths = {split: work_dir / "artifacts/fetch" / split / "index.json" for split in ("dev", "val")}
    return {split: io.read_json(path)["tokens"] for split, path in paths.items() if path.is_file()}


def choose_hardware(name: str, device: torch.device) -> str:
    """The machine of ``golf preflight`` that is nearest: this CPU, the A100, or else the H100."""
    if device.type == "cpu":
        return "cpu"
    return "a100" if "A100" in name else "h100"


def list_step_rows(cfg: Config, made: Forecast, path: Path) -> list[tuple[str, str, float | None, float | None]]:
    """ms, MFU and peak memory of a step, before and with recurrence."""
    step = made.record["step"]
    measured = {row["recurrent"]: row["ours"] for row in io.read_json(path)["rows"]} if path.is_file() else {}
    rows = []
    for recurrent, label in ((False, "before recurrence"), (True, "with recurrence")):
        predicted_ms, stats = step["ms_recurrent" if recurrent else "ms"], measured.get(recurrent)
        if predicted_ms is None:
            continue
        peak = made.hardware.peak_flops * made.hardware.n_devices
        speed = cfg.train.batch_tokens / predicted_ms * 1e3
        predicted_mfu = flops.mfu(cfg.model, recurrent=recurrent, tokens_per_second=speed, peak_flops_per_s=peak)
        rows.append((f"step {label}", "ms", predicted_ms, stats and 1e3 * stats["seconds"]))
        rows.append((f"MFU {label}", "%", 100 * predicted_mfu, stats and 100 * stats["mfu"]))
    peaks = [stats["peak_bytes"] for stats in measured.values() if stats["peak_bytes"] is not None]
    memory = made.record["memory_bytes"]["total"] / 1e9
    return [*rows, ("peak memory of a step", "GB", memory, max(peaks) / 1e9 if peaks else None)]


def list_run_rows(
    made: Forecast, measured: dict, stages: dict[str, dict]
) -> list[tuple[str, str, float | None, float | None]]:
    """Steps, seconds of the scoring modes, bytes of the file, and seconds of stages."""
    record, metrics, sizes = made.record, measured.get("metrics", {}), measured.get("sizes", {})
    rows = [("training steps", "steps", record["steps"], measured.get("steps"))]
    names = {"plain": "plain windows", "sliding": "sliding windows", "ttt": "test-time training"}
    rows += [(names[mode], "s", record["mode_seconds"][mode], metrics.get(f"seconds_{mode}")) for mode in names]
    rows.append(("model and code", "bytes", record["artifact_bytes"], sizes.get("artifact_bytes")))
    for name, stage in STAGE_OF_ROW.items():
        seconds = stages[stage]["seconds"] if stages[stage]["status"] == "ok" else None
        rows.append((f"stage {name}, whole process", "s", record["stages"][name]["seconds"], seconds))
    return rows


def format_table(result: dict) -> str:
    """The table that main prints."""
    tokens = ", ".join(f"{name} {count:,} tokens" for name, count in result["split_tokens"].items())
    lines = [
        f"record-check: {result['profile']} on {result['machine']}, torch {result['torch']}; {tokens}",
        f"forecast for {result['forecast_for']}: {result['calibration']}",
        "",
        f"{'':<34}{'forecast':>14}{'measured':>14}{'difference':>12}",
    ]
    for row in result["rows"]:
        predicted, measured = row["forecast"], row["measured"]
        spec = ",.0f" if row["unit"] in ("steps", "bytes") else ",.2f"
        texts = ["NOT-RUN" if value is None else format(value, spec) for value in (predicted, measured)]
        difference = f"{measured / predicted - 1:+.1%}" if predicted and measured is not None else ""
        lines.append(f"{row['figure'] + ', ' + row['unit']:<34}{texts[0]:>14}{texts[1]:>14}{difference:>12}")
    lines.append("")
    lines += [f"{name}: {row['status']}" for name, row in result["stages"].items() if row["status"] != "ok"]
    lines.append("Seconds of a stage's process count imports and compilation, which the forecast does not.")
    if result["rows"] and result["forecast_for"] != "cpu":
        lines.append("The scores of this run mean nothing: it trains for minutes on a small text.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
