"""What ``golf preflight`` forecasts of a run beside what happened: rows of figure, unit, forecast and measured."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io
from golf.cli.preflight.forecast import Forecast
from golf.config.loader import Config
from golf.model import flops

__all__ = [
    "MODE_NAMES",
    "choose_hardware",
    "format_row",
    "list_run_rows",
    "list_step_rows",
    "measure_logged_steps",
    "read_split_tokens",
]

_Row = dict[str, Any]
_STAGES_WITH_A_FORECAST = ("train", "ema", "ttt", "calibrate", "quantize", "compress")
MODE_NAMES = {"plain": "plain windows", "sliding": "sliding windows", "ttt": "test-time training"}
_NOT_RUN = "NOT-RUN"


def choose_hardware(name: str, device: torch.device) -> str:
    """The machine of ``golf preflight`` that is nearest: this CPU, the A100, or else the H100."""
    if device.type == "cpu":
        return "cpu"
    return "a100" if "A100" in name else "h100"


def read_split_tokens(artifacts: Path) -> dict[str, int]:
    """Tokens of dev and val; empty when fetch did not end."""
    paths = {split: artifacts / "fetch" / split / "index.json" for split in ("dev", "val")}
    return {split: io.read_json(path)["tokens"] for split, path in paths.items() if path.is_file()}


def measure_logged_steps(log: Sequence[Mapping[str, float]]) -> dict[bool, dict[str, float | None]]:
    """seconds of a step, without and with recurrence, as train's log.csv has them; peak_bytes is not known.

    The median over intervals between two rows, so that those with a measurement of dev or a saved state count little.
    """
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for before, after in itertools.pairwise(log):
        if before["recurrent"] == after["recurrent"]:
            n_steps = after["step"] - before["step"]
            seconds[bool(after["recurrent"])].append((after["seconds"] - before["seconds"]) / n_steps)
    return {
        recurrent: {"seconds": statistics.median(values), "peak_bytes": None}
        for recurrent, values in seconds.items()
        if values
    }


def list_step_rows(
    cfg: Config, made: Forecast, measured: Mapping[bool, Mapping[str, Any]], peak_bytes: float | None = None
) -> list[_Row]:
    """ms, MFU and peak memory of a step, before and with recurrence.

    measured: seconds and peak_bytes of a step, by whether recurrence is active. peak_bytes: of the training process,
    where the steps have none.
    """
    step, rows = made.record["step"], []
    peak_flops = made.hardware.peak_flops * made.hardware.n_devices

    def mfu(recurrent: bool, seconds: float) -> float:
        speed = cfg.train.batch_tokens / seconds
        return 100 * flops.mfu(cfg.model, recurrent=recurrent, tokens_per_second=speed, peak_flops_per_s=peak_flops)

    for recurrent, label in ((False, "before recurrence"), (True, "with recurrence")):
        predicted_ms, seconds = step["ms_recurrent" if recurrent else "ms"], measured.get(recurrent, {}).get("seconds")
        if predicted_ms is None:
            continue
        rows.append(_make_row(f"step {label}", "ms", predicted_ms, seconds and 1e3 * seconds))
        rows.append(
            _make_row(f"MFU {label}", "%", mfu(recurrent, predicted_ms / 1e3), seconds and mfu(recurrent, seconds))
        )
    peaks = [stats["peak_bytes"] for stats in measured.values() if stats["peak_bytes"] is not None]
    peak = max(peaks) if peaks else peak_bytes
    return [*rows, _make_row("peak memory of a step", "GB", made.record["memory_bytes"]["total"] / 1e9, _scale(peak))]


def list_run_rows(made: Forecast, measured: Mapping[str, Any], stages: Mapping[str, _Row]) -> list[_Row]:
    """Steps, seconds of the scoring modes, bytes of the file, and seconds of stages.

    measured: steps of train, metrics of evaluate, sizes of compress, where they are there. stages: status and seconds.
    """
    record, metrics, sizes = made.record, measured.get("metrics", {}), measured.get("sizes", {})
    rows = [_make_row("training steps", "steps", record["steps"], measured.get("steps"))]
    rows += [
        _make_row(name, "s", record["mode_seconds"][mode], metrics.get(f"seconds_{mode}"))
        for mode, name in MODE_NAMES.items()
    ]
    rows.append(_make_row("model and code", "bytes", record["artifact_bytes"], sizes.get("artifact_bytes")))
    for stage in _STAGES_WITH_A_FORECAST:
        predicted, row = record["stages"][stage]["seconds"], stages[stage]
        seconds = row["seconds"] if row["status"] == "ok" else None
        rows.append(_make_row(f"stage {stage}, whole process", "s", predicted, seconds))
    return rows


def format_row(row: _Row) -> tuple[str, str, str, str]:
    """Figure and unit, forecast, measured, and the difference in percent, as text."""
    predicted, measured = row["forecast"], row["measured"]
    spec = ",.0f" if row["unit"] in ("steps", "bytes") else ",.2f"
    texts = [_NOT_RUN if value is None else format(value, spec) for value in (predicted, measured)]
    difference = f"{measured / predicted - 1:+.1%}" if predicted and measured is not None else ""
    return (f"{row['figure']}, {row['unit']}", *texts, difference)


def _make_row(figure: str, unit: str, forecast: float | None, measured: float | None) -> _Row:
    return {"figure": figure, "unit": unit, "forecast": forecast, "measured": measured}


def _scale(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / 1e9
