"""The table at the end of make run: bpb by each way of scoring, bytes and seconds against their limits, the verdict."""

import textwrap

from golf.artifacts import io

_METRICS_PATH = "artifacts/evaluate/metrics.json"
_NOT_RUN = "NOT-RUN"
_INVALID = "invalid"
_MAX_COLUMNS = 80  # columns of the smallest terminal


def render_table(path=_METRICS_PATH) -> str:
    """Fits a screen of 80 x 24. What was not measured says NOT-RUN; an invalid score says so beside the figure.

    Raises BadArtifact without metrics to show.
    """
    metrics = io.read_json(path)
    verdict = metrics.get("verdict", _NOT_RUN)
    invalid_modes = metrics.get("invalid_ways", "").split(", ")
    lines = ["", f"{'way of scoring':<18}{'val bpb':>10}{'± s.e.':>10}{'seconds':>10}"]
    for mode in ("plain", "sliding", "ttt"):
        is_invalid = verdict.startswith(_INVALID) or mode in invalid_modes
        marks = f"  {_INVALID}" * is_invalid + "  <- headline" * (mode == metrics.get("headline"))
        cells = (_format_number(metrics.get(key), spec) for key, spec in _list_mode_cells(mode))
        lines.append(f"{mode:<18}" + "".join(f"{cell:>10}" for cell in cells) + marks)
    lines += [
        "",
        _format_versus_limit("artifact bytes", metrics, "artifact_bytes", "limit_bytes", ",.0f"),
        f"{'':<18}model {_format_number(metrics.get('payload_bytes'), ',.0f')}, code {_format_number(metrics.get('code_bytes'), ',.0f')}",
        _format_versus_limit("train seconds", metrics, "train_seconds", "train_limit_seconds", ".1f"),
        _format_versus_limit("eval seconds", metrics, "eval_seconds", "eval_limit_seconds", ".1f"),
        f"{'':<18}and {_format_number(metrics.get('probe_seconds'), '.1f')} for the probes",
        *textwrap.wrap(verdict, _MAX_COLUMNS, initial_indent=f"{'verdict':<18}", subsequent_indent=" " * 18),
    ]
    if metrics.get("comparable_with_fineweb") is not True:
        lines.append("These scores are of this corpus and can't be compared with scores on FineWeb.")
    lines += [
        "",
        "Look further: python -m golf check · dvc plots show · dvc metrics show ·",
        "              python -m golf inspect artifacts/compress/model.golf",
    ]
    return "\n".join(lines)


def _list_mode_cells(mode: str):
    return ((f"val_bpb_{mode}", ".4f"), (f"val_bpb_{mode}_se", ".4f"), (f"seconds_{mode}", ".1f"))


def _format_number(value, spec: str) -> str:
    return _NOT_RUN if value is None else format(value, spec)


def _format_versus_limit(name: str, metrics: dict, key: str, limit_key: str, spec: str) -> str:
    """A figure beside its limit, of which null says that there is none."""
    value, limit = metrics.get(key), metrics.get(limit_key)
    if limit_key in metrics and limit is None and value is not None:
        return f"{name:<18}{_format_number(value, spec):>12}  no limit"
    over_mark = "  OVER" if value is not None and limit is not None and value > limit else ""
    return f"{name:<18}{_format_number(value, spec):>12}  of {_format_number(limit, spec)}{over_mark}"
