"""``golf results``, the table at the end of ``make run``, and ``golf verdict``, the checks behind it."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from golf.artifacts import io, json_records, lineage
from golf.cli import verification
from golf.cli.figures import format_figure
from golf.compliance import verdict
from golf.compliance.check_result import NOT_RUN
from golf.config import loader
from golf.evaluation.scoring_loop import MODES

__all__ = ["format_stale_warning", "render_table", "render_verdict"]

_METRICS_PATH = Path("artifacts/evaluate/metrics.json")
_MAX_COLUMNS = 80  # width of the smallest terminal


def render_table(path: Path | str = _METRICS_PATH) -> str:
    """Return the metrics of the last run for a screen of 80 x 24.

    A value that was not measured is NOT-RUN; an invalid score is marked. Raises ArtifactError without a metrics.json,
    for one with an impossible value, and for one that the verdict beside it does not name.
    """
    path = Path(path)
    metrics = io.read_json(path)
    known_types = {key: kind for key, kind in verification.METRICS_TYPES.items() if key in metrics}
    json_records.require_keys(path, metrics, known_types)
    if path.with_name("verdict.json").is_file():
        verification.verify_evaluation(path.with_name("verdict.json"))
    verdict_text = metrics.get("verdict", NOT_RUN)
    invalid_modes = metrics.get("invalid_modes", "").split(", ")
    lines = ["", f"{'scoring mode':<18}{'val bpb':>10}{'± s.e.':>10}{'seconds':>10}"]
    for mode in MODES:
        is_invalid = verdict_text.startswith(verdict.INVALID) or mode in invalid_modes
        marks = f"  {verdict.INVALID}" * is_invalid + "  <- headline" * (mode == metrics.get("headline"))
        specs = {f"val_bpb_{mode}": ".4f", f"val_bpb_{mode}_se": ".4f", f"seconds_{mode}": ".1f"}
        cells = (format_figure(metrics.get(key), spec) for key, spec in specs.items())
        lines.append(f"{mode:<18}" + "".join(f"{cell:>10}" for cell in cells) + marks)
    contamination_text = format_figure(metrics.get("val_contamination"), ".2%")
    clean_text = format_figure(metrics.get("val_bpb_clean"), ".4f")
    payload_text = format_figure(metrics.get("payload_bytes"), ",.0f")
    code_text = format_figure(metrics.get("code_bytes"), ",.0f")
    lines += [
        f"{'clean text':<18}{clean_text:>10}  val's bytes that also occur in train: {contamination_text}",
        "",
        _format_versus_limit("artifact bytes", metrics, "artifact_bytes", "limit_bytes", ",.0f"),
        f"{'':<18}model {payload_text}, code {code_text} ({metrics.get('code_counted', NOT_RUN)})",
        _format_versus_limit("train seconds", metrics, "train_seconds", "train_limit_seconds", ".1f"),
        _format_versus_limit("eval seconds", metrics, "eval_seconds", "eval_limit_seconds", ".1f"),
        f"{'':<18}and {format_figure(_sum_proof_s(metrics), '.1f')} for the proof and the probes",
        *textwrap.wrap(verdict_text, _MAX_COLUMNS, initial_indent=f"{'verdict':<18}", subsequent_indent=" " * 18),
    ]
    if metrics.get("comparable_with_fineweb") is not True:
        lines.append("These scores are for this corpus and not comparable with scores on FineWeb.")
    lines += [
        "",
        "More: golf verdict · golf inspect artifacts/compress/model.golf ·",
        "      dvc metrics show · dvc plots show",
    ]
    return "\n".join(lines)


def _sum_proof_s(metrics: dict[str, Any]) -> float | None:
    """Seconds of the checks that run the predictor; None if there was no proof."""
    seconds = [metrics.get(f"{part}_seconds") for part in ("proof", "proof_replay", "probe")]
    measured = [value for value in seconds if value is not None]
    return sum(measured) if len(measured) == len(seconds) else None


def _format_versus_limit(name: str, metrics: Mapping[str, Any], key: str, limit_key: str, spec: str) -> str:
    """A value with its limit; null as limit means that there is none."""
    value, limit = metrics.get(key), metrics.get(limit_key)
    if limit_key in metrics and limit is None and value is not None:
        return f"{name:<18}{format_figure(value, spec):>12}  no limit"
    over_mark = "  OVER" if value is not None and limit is not None and value > limit else ""
    return f"{name:<18}{format_figure(value, spec):>12}  of {format_figure(limit, spec)}{over_mark}"


def render_verdict(*, show_all: bool = False) -> tuple[str, bool]:
    """Return the verdict of the last run as text, and whether a check failed or the verdict is stale.

    show_all: give every check its row; otherwise passed checks are only named. Raises ArtifactError without a verdict,
    and for one that does not agree with the log, the metrics or the ledgers.
    """
    verification.verify_evaluation()
    text, has_failed = verdict.load_report(show_all=show_all)
    if warning := format_stale_warning():
        return f"{text}\n{warning}", True
    return text, has_failed


def format_stale_warning(path: Path | str = verdict.VERDICT_PATH) -> str:
    """Return a line if the current artifact is not the one that was evaluated.

    "" if it is, or if the artifact, the verdict or params.yaml is missing. Raises ArtifactError if the verdict can't be
    read.
    """
    if not (Path(loader.PARAMS_FILE).is_file() and Path(path).is_file()):
        return ""
    artifact, evaluated_sha256 = Path(loader.load_config().evaluate.artifact), io.read_json(path).get("artifact_sha256")
    if not isinstance(evaluated_sha256, str) or not artifact.is_file():
        return ""
    current_sha256 = lineage.hash_artifact(artifact)
    if current_sha256 == evaluated_sha256:
        return ""
    digests = f"{artifact} is now {current_sha256[:12]}, the verdict is for {evaluated_sha256[:12]}"
    return f"STALE: {digests}; run: dvc repro evaluate"
