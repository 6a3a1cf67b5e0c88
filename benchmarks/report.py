"""README's table of speeds: what ``benchmarks/results`` holds, and NOT-RUN for what it does not."""

from pathlib import Path

from golf.artifacts import io
from golf.errors import ArtifactError, GolfError

_RESULTS_DIR = Path("benchmarks/results")
_NOT_RUN = "NOT-RUN"
BEGIN_MARKER, END_MARKER = "<!-- performance -->\n", "<!-- /performance -->"
_PROFILES = ("laptop", "record")
_MODE_NAMES = {"sliding": "sliding windows", "ttt": "score-first TTT", "prequant": "pre-quantisation TTT"}
_TABLE_HEADER = "| | on | record's form | ours | ratio | MFU | peak memory |\n|---|---|---|---|---|---|---|"


def render_table(folder: Path = _RESULTS_DIR) -> str:
    """Markdown: a row for each figure and machine. Raises BadArtifact for a file that is not what its name says."""
    lines = [_TABLE_HEADER]
    for profile in _PROFILES:
        step_rows = [
            row
            for result_file in _load_results(folder, "train_step", profile)
            for row in _format_step_rows(*result_file)
        ]
        mode_rows = [row for found in _load_results(folder, "evaluation", profile) for row in _format_mode_rows(*found)]
        lines += step_rows or [_format_missing_row(f"training step, {profile}")]
        lines += mode_rows or [_format_missing_row(f"scoring and TTT, {profile}")]
    run_lines = [_format_record_run(*found) for found in _load_results(folder, "record_run", "record")]
    return "\n".join(
        [*lines, "", *(run_lines or [f"The record model trained to a file of 16,000,000 bytes: {_NOT_RUN}."]), ""]
    )


def _load_results(folder: Path, name: str, profile: str) -> list[tuple[Path, dict]]:
    """Path and content of ``<name>.<profile>.<machine>.json``, one for each machine."""
    paths = sorted(Path(folder).glob(f"{name}.{profile}.*.json"))
    return [(path, io.read_json(path)) for path in paths]


def _format_step_rows(path: Path, data: dict) -> list[str]:
    rows = []
    for row in _get_typed(path, data, "rows", list):
        is_recurrent, ours, baseline = (
            _get_typed(path, row, "looped", bool),
            _get_typed(path, row, "ours", dict),
            row.get("record"),
        )
        speeds = [
            None if timing is None else _get_typed(path, timing, "tokens_per_second", float)
            for timing in (baseline, ours)
        ]
        phase = "after the loop is activated" if is_recurrent else "before the loop"
        peak_bytes = ours.get("peak_bytes")
        cells = (
            f"training step, {_get_typed(path, data, 'profile', str)}, {phase}",
            _format_machine(path, data),
            *(_NOT_RUN if speed is None else f"{speed:,.0f} tokens/s" for speed in speeds),
            _NOT_RUN if None in speeds else f"{speeds[1] / speeds[0]:.2f}",
            f"{100 * _get_typed(path, ours, 'mfu', float):.1f} %",
            _NOT_RUN if peak_bytes is None else f"{_get_typed(path, ours, 'peak_bytes', float) / 1e9:.1f} GB",
        )
        rows.append(_format_row(cells))
    return rows


def _format_mode_rows(path: Path, data: dict) -> list[str]:
    rows = []
    for mode, row in _get_typed(path, data, "ways", dict).items():
        baseline_s, ours_s = (_get_typed(path, row, key, float) for key in ("record_s", "ours_s"))
        name = f"{_MODE_NAMES.get(mode, mode)}, {Path(_get_typed(path, data, 'profile', str)).stem}"
        rows.append(
            _format_row(
                (
                    name,
                    _format_machine(path, data),
                    f"{baseline_s:.3g} s",
                    f"{ours_s:.3g} s",
                    f"{baseline_s / ours_s:.2f}",
                    "",
                    "",
                )
            )
        )
    return rows


def _format_record_run(path: Path, data: dict) -> str:
    metrics = _get_typed(path, data, "metrics", dict)
    scores = ", ".join(
        f"{mode} {_get_typed(path, metrics, f'val_bpb_{mode}', float):.4f}"
        for mode in ("plain", "sliding", "ttt")
        if metrics.get(f"val_bpb_{mode}") is not None
    )
    return (
        f"The record model, trained for {_get_typed(path, data, 'train_seconds', float):.0f} s on one {_format_machine(path, data)} "
        f"({_get_typed(path, data, 'steps', float):,.0f} steps, {_get_typed(path, data, 'text', str)}): {scores} bpb, "
        f"{_get_typed(path, metrics, 'artifact_bytes', float):,.0f} bytes of {_get_typed(path, metrics, 'limit_bytes', float):,.0f}. "
        f"Not comparable with scores on FineWeb."
    )


def _format_missing_row(name: str) -> str:
    return _format_row((name, *[_NOT_RUN] * 6))


def _format_row(cells) -> str:
    return f"| {' | '.join(cells)} |"


def _format_machine(path: Path, data: dict) -> str:
    name, slug = _get_typed(path, data, "machine", str), _get_typed(path, data, "slug", str)
    threads = _get_typed(path, data, "threads", int)
    return f"{name}, {threads} thread{'s' * (threads > 1)}" if slug.startswith("cpu") else name


def _get_typed(path: Path, data: dict, key: str, expected_type: type):
    """What ``tree`` holds under ``key``; float takes any number. Raises BadArtifact naming file and key."""
    value = data.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number if expected_type is float else isinstance(value, expected_type)):
        raise ArtifactError(path, f"{key}: expected {expected_type.__name__}, got {value!r}", "run its benchmark again")
    return value


def write_table(file: Path, folder: Path = _RESULTS_DIR) -> str:
    """Put the table between the file's markers. Raises GolfError when it has none."""
    before, _, after = _split_at_markers(file)
    io.write_bytes(file, (before + render_table(folder) + after).encode())
    return f"{file}: the table of speeds is that of {folder}"


def check_table(file: Path, folder: Path = _RESULTS_DIR) -> str:
    """Raises GolfError when the table between the file's markers is another."""
    if _split_at_markers(file)[1] != render_table(folder):
        raise GolfError(
            f"{file}: its table of speeds is not that of {folder}; run python -m golf performance --write {file}"
        )
    return f"{file}: its table of speeds is that of {folder}"


def _split_at_markers(file: Path) -> tuple[str, str, str]:
    """Text up to the table, the table, and what follows."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GolfError(f"{file}: not found") from None
    before, begin, rest = text.partition(BEGIN_MARKER)
    table_text, end, after = rest.partition(END_MARKER)
    if not begin or not end:
        raise GolfError(
            f"{file}: has no place for the table; put {BEGIN_MARKER.strip()} and {END_MARKER} on lines of their own"
        )
    return before + begin, table_text, end + after
