"""``golf preflight``: what a run will take, from params.yaml alone, before anything is spent."""

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golf.cli.figures import format_figure
from golf.compliance.check_result import NOT_RUN
from golf.pipeline.progress import format_count

if TYPE_CHECKING:
    from golf.cli.preflight.forecast import Forecast

__all__ = ["HARDWARE_NAMES", "add_commands", "render_forecast"]

HARDWARE_NAMES = ("h100x8", "h100", "a100", "cpu")
_WIDTH = 100  # of the line of known seconds
_SIZE_ERROR = 0.02  # of a forecast of bytes on the row grid, as PR #1493's file and the small models show


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "preflight",
        help="forecast a run's time, memory, bytes and price",
        description="Forecast a run from params.yaml alone, in seconds and without running a model: time of a step, "
        "steps, memory, seconds of each stage, bytes of the artifact, disk, download and price.",
        epilog="example: golf preflight --params profiles/record.yaml --hardware h100x8 --price-per-hour 20",
    )
    parser.add_argument("--hardware", choices=HARDWARE_NAMES, default="cpu", help="the machine; cpu: this one (cpu)")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="%(default)s")
    parser.add_argument("--price-per-hour", type=float, metavar="X", help="dollars an hour for the whole machine")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> str:
    from golf.cli.preflight import forecast
    from golf.config import loader
    from golf.errors import InputError

    price = args.price_per_hour
    if price is not None and not 0 <= price <= 1e6:
        raise InputError(f"--price-per-hour must be at least 0 and at most 1,000,000, got {price:g}")
    cfg = loader.load_config(args.params)
    made = forecast.make_forecast(cfg, args.hardware, price)
    if args.json:
        return json.dumps(made.record, indent=2, allow_nan=False)
    return render_forecast(made, forecast.compute_mfu(made, cfg))


def render_forecast(forecast: "Forecast", mfu: float) -> str:
    """Return the forecast as text of at most 120 columns. mfu: of a step."""
    record = forecast.record
    step, memory = record["step"], record["memory_bytes"]
    lines = [
        f"forecast for {record['profile']} on {record['hardware']}, {record['dtype']}; nothing was run",
        "",
        f"{'parameters':<24}{record['parameters']:>16,}",
        _format_step("step, ms", step["ms"], step["ms_recurrent"], ",.1f"),
        _format_step("TFLOP of a rank", step["flop"] / 1e12, _scale(step["flop_recurrent"], 1e12), ",.3f"),
        _format_step(
            "GB moved by a rank", step["moved_bytes"] / 1e9, _scale(step["moved_bytes_recurrent"], 1e9), ",.2f"
        ),
        f"{'MFU':<24}{mfu:>16.1%}",
        f"{'steps':<24}{record['steps']:>16,}",
        f"{'training tokens':<24}{record['tokens']:>16,}",
        f"{'peak memory of a rank':<24}{memory['total'] / 1e9:>13,.2f} GB{_describe_fit(record)}",
        f"{'artifact, bytes':<24}{record['artifact_bytes']:>16,}  of {record['limit_bytes']:,}"
        + _describe_excess(record["artifact_bytes"] / record["limit_bytes"]),
        f"{'':<24}{record['bits_per_weight']:>16.2f}  bits per weight: {record['size_reason']}"[:120],
        f"{'disk':<24}{record['disk_bytes'] / 1e9:>13,.2f} GB  and as much again in DVC's cache",
        f"{'download':<24}{record['download_bytes'] / 1e9:>13,.2f} GB",
        "",
        f"{'stage':<24}{'seconds':>16}  limit",
    ]
    for name, row in record["stages"].items():
        seconds, limit = row["seconds"], row["limit_seconds"]
        seconds_text = format_figure(seconds, ",.1f")
        words = ["" if limit is None else format(limit, ",.0f")]
        words.append("OVER" if seconds is not None and limit is not None and seconds > limit else row["reason"] or "")
        lines.append(f"{name:<24}{seconds_text:>16}  {'  '.join(word for word in words if word)}")
    price = NOT_RUN if record["price"] is None else f"${record['price']:,.2f}"
    total = f"{'known seconds':<24}{record['known_seconds']:>16,.1f}  without {'; '.join(record['unknown_stages'])}"
    lines += [
        *textwrap.wrap(total, _WIDTH, subsequent_indent=" " * 42),
        f"{'price':<24}{price:>16}  "
        + ("give --price-per-hour" if record["price"] is None else "of the known seconds alone"),
        "",
        f"Calibration: {record['calibration']}.",
    ]
    if record["train_ranks"] != record["devices"]:
        ranks_text = f"train.ranks is {record['train_ranks']}; the forecast divides a step over "
        lines.append(f"{ranks_text}{format_count(record['devices'], 'device')}.")
    return "\n".join(line.rstrip() for line in lines)


def _scale(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _format_step(name: str, value: float, recurrent: float | None, spec: str) -> str:
    recurrent_text = "" if recurrent is None else f"  {format(recurrent, spec)} with recurrence"
    return f"{name:<24}{format(value, spec):>16}{recurrent_text}"


def _describe_excess(share: float) -> str:
    """What to say of a file that has ``share`` of its limit."""
    if share <= 1:
        return ""
    return "  OVER" if share > 1 + _SIZE_ERROR else "  over, within the forecast's error"


def _describe_fit(record: dict[str, Any]) -> str:
    capacity = record["device_memory_bytes"]
    if capacity is None:
        return ""
    over_text = "  OVER" if record["memory_bytes"]["total"] > capacity else ""
    return f"  of {capacity / 1e9:,.0f} GB{over_text}"
