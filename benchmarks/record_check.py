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
import record_forecast
import record_results
import record_settings
import torch
from record_stages import NOT_RUN_ROW, ProfileRun

from benchmarks.measured_process import read_usage, run_measured
from golf.artifacts import io
from golf.cli.preflight import forecast

RESULTS_DIR = Path(__file__).parent / "results"
STEP_SCRIPT = Path(__file__).parent / "train_step.py"
STEP_FILE = "step.json"
STEP_LIMIT_SHARE = 1 / 3  # of the minutes, for the steps alone
OVERRIDES = {"fetch.source": "docs", "fetch.val_percent": 5.0, "fetch.dev_percent": 2.0}
TINY_OVERRIDES = {
    "fetch.source": "stdlib",
    "fetch.val_percent": 2.0,
    "fetch.dev_percent": 2.0,
    **record_settings.TINY_OVERRIDES,
}
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
    """Forecast and measure; rows hold figure, unit, forecast and measured, None for what is NOT-RUN."""
    params_tree = record_settings.make_params(record_settings.RECORD_PROFILE, make_overrides(args))
    links = {params_tree["fetch"]["path"]: args.text} if args.text else {}
    run = ProfileRun(work_dir, params_tree, corpus={}, links=links)
    device = torch.device(args.device)
    machine = hardware.describe_machine(device)
    steps = time_steps(run.folder, deadline_s - time.monotonic())
    stages = {"steps": steps} | {stage: run.rows[stage] for stage in run.run_stages(deadline_s)}
    tokens = record_forecast.read_split_tokens(run.folder / "artifacts")
    hardware_name = record_forecast.choose_hardware(machine["machine"], device)
    made = forecast.make_forecast(run.cfg, hardware_name, split_tokens=tokens)
    rows = record_forecast.list_step_rows(run.cfg, made, read_steps(run.folder / STEP_FILE))
    measured = record_results.collect_metrics(run.folder / "artifacts")
    return {
        **machine,
        "profile": args.profile,
        "forecast_for": hardware_name,
        "calibration": made.record["calibration"],
        "split_tokens": tokens,
        "stages": stages,
        "rows": rows + record_forecast.list_run_rows(made, measured, stages),
    }


def make_overrides(args: argparse.Namespace) -> dict[str, object]:
    """The changes to the record profile, by dotted key."""
    overrides = record_settings.PARAM_OVERRIDES | PROFILES[args.profile]
    if args.device == "cpu":
        overrides |= {f"{stage}.device": "cpu" for stage in ("train", "ema", "ttt", "calibrate", "evaluate")}
    if args.text:
        overrides |= {"fetch.source": "files", "fetch.path": "texts"}
    return overrides | {"train.limit_s": 60 * args.train_minutes + float(str(overrides["train.reserve_s"]))}


def time_steps(folder: Path, seconds_left: float) -> dict:
    """Time steps without and with recurrence in a process of its own, which writes STEP_FILE; its row of stages."""
    limit_s = STEP_LIMIT_SHARE * seconds_left
    if limit_s <= 0:
        return NOT_RUN_ROW | {"status": "NOT-RUN, no time was left"}
    command = [sys.executable, str(STEP_SCRIPT), "--profile", "params.yaml", "--ours-only", "--turns", "2"]
    try:
        usage_path = folder / "steps.jsonl"
        exit_code = run_measured([*command, "--json", STEP_FILE], usage_path, cwd=folder, timeout_s=limit_s)
    except TimeoutError as error:
        return NOT_RUN_ROW | {"status": f"NOT-RUN, {error}"}
    return read_usage(usage_path) | {"status": "ok" if exit_code == 0 else f"failed, exit code {exit_code}"}


def read_steps(path: Path) -> dict[bool, dict]:
    """What train_step.py measured, by whether recurrence is active."""
    return {row["recurrent"]: row["ours"] for row in io.read_json(path)["rows"]} if path.is_file() else {}


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
        name, *cells = record_forecast.format_row(row)
        lines.append(f"{name:<34}{cells[0]:>14}{cells[1]:>14}{cells[2]:>12}")
    lines.append("")
    lines += [f"{name}: {row['status']}" for name, row in result["stages"].items() if row["status"] != "ok"]
    lines.append("Seconds of a stage's process count imports and compilation, which the forecast does not.")
    if result["rows"] and result["forecast_for"] != "cpu":
        lines.append("The scores of this run mean nothing: it trains for minutes on a small text.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
