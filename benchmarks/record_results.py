"""What a run of the record's profile measured, as ``record_run`` writes it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hardware
import record_forecast
from record_stages import ProfileRun

from golf.artifacts import io
from golf.cli.preflight import forecast

__all__ = ["collect_metrics", "describe_run"]

_LOG_COLUMNS = {"step": int, "seconds": float, "loss": float, "recurrent": int, "tokens": int}
_DEV_COLUMNS = {"step": int, "seconds": float, "dev_loss": float}


def describe_run(run: ProfileRun, names: Mapping[str, str], changes: list[dict[str, object]]) -> dict[str, Any]:
    """record_run.json without what the scripts measured. names: profile and text."""
    artifacts, machine = run.folder / "artifacts", hardware.describe_machine(run.device)
    metrics = collect_metrics(artifacts)
    hardware_name = record_forecast.choose_hardware(machine["machine"], run.device)
    tokens = record_forecast.read_split_tokens(artifacts)
    made = forecast.make_forecast(run.cfg, hardware_name, split_tokens=tokens)
    loss = {
        "train": _read_rows(artifacts / "train/log.csv", _LOG_COLUMNS),
        "dev": _read_rows(artifacts / "train/dev.csv", _DEV_COLUMNS),
    }
    steps, peak_bytes = record_forecast.measure_logged_steps(loss["train"]), run.rows["train"]["peak_bytes"]
    rows = record_forecast.list_step_rows(run.cfg, made, steps, peak_bytes)
    rows += record_forecast.list_run_rows(made, metrics, run.rows)
    return {
        "note": _make_note(metrics.get("train")),
        **names,
        **machine,
        "changes": changes,
        "data": _describe_data(artifacts / "fetch/manifest.json"),
        **metrics,
        "loss": loss,
        "verdict": _summarize_verdict(artifacts / "evaluate/verdict.json"),
        "stages": run.rows,
        "forecast_for": hardware_name,
        "calibration": made.record["calibration"],
        "forecast": rows,
        "coder": None,
        "recipes": None,
    }


def _make_note(train: dict[str, Any] | None) -> str:
    """What every figure of the run has to be read with."""
    tokens = "NOT-RUN" if train is None else f"{train['tokens']:,} tokens of training"
    return (
        f"Undertrained: {tokens}, where the record's profile has 786,432 a step for 600 s of eight H100. No score, "
        "divergence or ratio here is that of a trained model."
    )


def collect_metrics(artifacts: Path) -> dict[str, Any]:
    """The metrics of the stages that ran: steps and seconds of training, and everything from evaluate."""
    metrics: dict[str, Any] = {}
    if (artifacts / "train/metrics.json").is_file():
        train_metrics = io.read_json(artifacts / "train/metrics.json")
        metrics |= {"steps": train_metrics["steps"], "train_seconds": train_metrics["seconds"], "train": train_metrics}
    for name, path in {"metrics": "evaluate/metrics.json", "sizes": "compress/sizes.json"}.items():
        if (artifacts / path).is_file():
            metrics[name] = io.read_json(artifacts / path)
    return metrics


def _describe_data(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    manifest = io.read_json(path)
    columns = "documents", "tokens", "bytes"
    splits = {name: {key: row[key] for key in columns} for name, row in manifest["splits"].items()}
    return {"splits": splits, "tokenizer": manifest["tokenizer"]}


def _summarize_verdict(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    record = io.read_json(path)
    counts = Counter(row["status"] for row in record["checks"])
    return {"summary": record["verdict"], "counts": ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))}


def _read_rows(path: Path, columns: Mapping[str, type]) -> list[dict[str, Any]]:
    """These columns of a table; no rows where it is missing."""
    rows = io.read_csv(path, columns) if path.is_file() else []
    return [{name: row[name] for name in columns} for row in rows]
