"""The performance table of docs/performance.md: the measurements in benchmarks/results, NOT-RUN for those it lacks.

``python -m tools.docs`` writes it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.errors import ArtifactError

__all__ = ["render_table"]

_NOT_RUN = "NOT-RUN"
_PROFILES = ("laptop", "record")
_MODE_NAMES = {"sliding": "sliding windows", "ttt": "score-first TTT", "prequant": "pre-quantization TTT"}
_TABLE_HEADER = "| | machine | baseline | ours | ratio | MFU | peak memory |\n|---|---|---|---|---|---|---|"


def render_table(folder: Path) -> str:
    """Markdown with a row for each measurement and machine in a folder. Raises ArtifactError for a malformed file."""
    lines = [_TABLE_HEADER]
    for profile in _PROFILES:
        step_rows = [
            row for result in _load_results(folder, "train_step", profile) for row in _format_step_rows(*result)
        ]
        mode_rows = [
            row for result in _load_results(folder, "evaluation", profile) for row in _format_mode_rows(*result)
        ]
        lines += step_rows or [_format_missing_row(f"training step, {profile}")]
        lines += mode_rows or [_format_missing_row(f"scoring and TTT, {profile}")]
    run_lines = [_format_record_run(*result) for result in _load_results(folder, "record_run", "record")]
    return "\n".join(
        [*lines, "", *(run_lines or [f"The record model trained to a file of 16,000,000 bytes: {_NOT_RUN}."]), ""]
    )


def _load_results(folder: Path, name: str, profile: str) -> list[tuple[Path, dict[str, Any]]]:
    """Path and content of each ``<name>.<profile>.<machine>.json``."""
    return [(path, io.read_json(path)) for path in sorted(folder.glob(f"{name}.{profile}.*.json"))]


def _format_step_rows(path: Path, data: dict[str, Any]) -> list[str]:
    rows = []
    for row in _get_typed(path, data, "rows", list):
        is_recurrent, ours = _get_typed(path, row, "recurrent", bool), _get_typed(path, row, "ours", dict)
        baseline = row.get("baseline")
        our_speed = _get_typed(path, ours, "tokens_per_second", float)
        baseline_speed = None if baseline is None else _get_typed(path, baseline, "tokens_per_second", float)
        has_peak = ours.get("peak_bytes") is not None
        cells = (
            f"training step, {_get_typed(path, data, 'profile', str)}, {'with' if is_recurrent else 'no'} recurrence",
            _format_machine(path, data),
            _NOT_RUN if baseline_speed is None else f"{baseline_speed:,.0f} tokens/s",
            f"{our_speed:,.0f} tokens/s",
            _NOT_RUN if baseline_speed is None else f"{our_speed / baseline_speed:.2f}",
            f"{100 * _get_typed(path, ours, 'mfu', float):.1f} %",
            f"{_get_typed(path, ours, 'peak_bytes', float) / 1e9:.1f} GB" if has_peak else _NOT_RUN,
        )
        rows.append(_format_row(cells))
    return rows


def _format_mode_rows(path: Path, data: dict[str, Any]) -> list[str]:
    rows = []
    for mode, row in _get_typed(path, data, "modes", dict).items():
        baseline_s, ours_s = (_get_typed(path, row, key, float) for key in ("baseline_s", "ours_s"))
        name = f"{_MODE_NAMES.get(mode, mode)}, {Path(_get_typed(path, data, 'profile', str)).stem}"
        times = f"{baseline_s:.3g} s", f"{ours_s:.3g} s", f"{baseline_s / ours_s:.2f}"
        rows.append(_format_row((name, _format_machine(path, data), *times, "", "")))
    return rows


def _format_record_run(path: Path, data: dict[str, Any]) -> str:
    metrics = _get_typed(path, data, "metrics", dict)
    scores = ", ".join(
        f"{mode} {_get_typed(path, metrics, f'val_bpb_{mode}', float):.4f}"
        for mode in ("plain", "sliding", "ttt")
        if metrics.get(f"val_bpb_{mode}") is not None
    )
    train_s, steps = (_get_typed(path, data, key, float) for key in ("train_seconds", "steps"))
    n_bytes, limit_bytes = (_get_typed(path, metrics, key, float) for key in ("artifact_bytes", "limit_bytes"))
    return (
        f"The record model, trained for {train_s:.0f} s on one {_format_machine(path, data)} "
        f"({steps:,.0f} steps, {_get_typed(path, data, 'text', str)}): {scores} bpb, "
        f"{n_bytes:,.0f} bytes of {limit_bytes:,.0f}. {_get_typed(path, data, 'note', str)} Not comparable with scores "
        "on FineWeb."
    )


def _format_missing_row(name: str) -> str:
    return _format_row((name, *[_NOT_RUN] * 6))


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_machine(path: Path, data: dict[str, Any]) -> str:
    name, slug = _get_typed(path, data, "machine", str), _get_typed(path, data, "slug", str)
    threads = _get_typed(path, data, "threads", int)
    return f"{name}, {threads} thread{'s' * (threads > 1)}" if slug.startswith("cpu") else name


def _get_typed(path: Path, data: dict[str, Any], key: str, expected_type: type) -> Any:
    """The value of ``key``; float accepts any number. Raises ArtifactError naming the file and the key."""
    value = data.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number if expected_type is float else isinstance(value, expected_type)):
        raise ArtifactError(path, f"{key}: expected {expected_type.__name__}, got {value!r}", "run its benchmark again")
    return value
