"""The verdict: every check's result, the track, and a one-line summary that is never a bare "legal"."""

import dataclasses
import hashlib
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.compliance import catalog, evaluation_log
from golf.compliance.catalog import CHECKS
from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult
from golf.compliance.context import EvaluationContext
from golf.compliance.report import LINE_WIDTH, render_results, render_row, replace_unprintable
from golf.errors import ArtifactError

__all__ = [
    "INVALID",
    "RECORD_ELIGIBLE",
    "VALID",
    "VERDICT_PATH",
    "Verdict",
    "decide",
    "load_report",
    "make_verdict",
    "publish",
    "read_verdict",
    "render_verdict",
    "summarize_record",
]

VERDICT_PATH = "artifacts/evaluate/verdict.json"
RECORD_ELIGIBLE = "record-eligible"
VALID = "valid, not a record run"
INVALID = "invalid"
_MAX_CONTAMINATION = 0.01  # share of val's bytes in train above which the summary speaks of it
_INCOMPLETE = NOT_RUN  # first word of a summary when the proof or the provenance could not be checked
_TRACKS = {False: "A: fixed predictor", True: "B: score-first adaptation"}
_HEADER_KEYS = ("verdict", "track", "predictor", "artifact_sha256")  # of verdict.json, beside the checks
_ROW_KEYS = ("check", "status", "measured", "limit", "note")
_CONTEST_LIMITS = {"limit_bytes": 16_000_000, "train_limit_seconds": 600.0, "eval_limit_seconds": 600.0}


@dataclass(frozen=True)
class Verdict:
    """What may be said of a run.

    summary: one line, with the reason. track: A or B. check_results: one for each check, in the catalog's order.
    probe_seed: hex, from which the probed places follow. predictor: the class; artifact_sha256: of what it opened.
    """

    summary: str
    track: str
    check_results: tuple[CheckResult, ...]
    probe_seed: str
    predictor: str
    artifact_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return verdict.json: every result with its check's title and the link to its documentation."""
        checks = [
            {
                **dataclasses.asdict(result),
                "title": CHECKS[result.check].title,
                "docs": CHECKS[result.check].docs_link,
            }
            for result in self.check_results
        ]
        header = {key: getattr(self, key) for key in ("predictor", "artifact_sha256", "track", "probe_seed")}
        return {"verdict": self.summary, **header, "checks": checks}


def decide(context: EvaluationContext) -> Verdict:
    """Run every check on an evaluation. Raises ArtifactError when the saved ledger was changed."""
    return make_verdict(
        catalog.run_checks(context),
        adapts=context.adapts,
        limits=context.metrics,
        comparable=context.metrics["comparable_with_fineweb"],
        contamination=context.metrics["val_contamination"],
        probe_seed=context.run.probe_seed,
        predictor=context.cfg.predictor,
        artifact_sha256=context.log_entry["artifact"],
    )


def publish(context: EvaluationContext, verdict: Verdict, metrics_path: str, verdict_path: str, code_path: str) -> None:
    """Log the score with the verdict, whatever that is; then write metrics.json and verdict.json.

    verdict.json has ``files``: the sha256 of metrics.json, of the ledgers, of the code that ran, and of the bundle if
    that counts, by their paths from its folder. The log has the sha256 of verdict.json, so that an edit of any of them
    shows (golf.cli.verification).
    """
    folder = Path(verdict_path).parent
    io.write_bytes(code_path, context.sandbox.code_archive)
    metrics_json = io.encode_json(context.metrics | {"verdict": verdict.summary})
    files = [Path(code_path), *sorted(Path(context.ledger_dir).iterdir())]
    digests = {path.relative_to(folder).as_posix(): io.sha256_file(path) for path in files}
    if context.counted_bundle is not None:
        digests[os.path.relpath(context.counted_bundle, folder)] = io.sha256_file(context.counted_bundle)
    digests[Path(metrics_path).relative_to(folder).as_posix()] = hashlib.sha256(metrics_json).hexdigest()
    verdict_json = io.encode_json(verdict.to_dict() | {"files": digests})
    outcome = {"val_bpb": context.metrics["val_bpb"], "verdict": verdict.summary}
    outcome["verdict_sha256"] = hashlib.sha256(verdict_json).hexdigest()
    evaluation_log.append_entry(context.log_path, context.log_entry | outcome)
    io.write_bytes(metrics_path, metrics_json)
    io.write_bytes(verdict_path, verdict_json)


def make_verdict(
    check_results: list[CheckResult],
    *,
    adapts: bool,
    limits: dict[str, Any],
    comparable: bool,
    contamination: float | None,
    **header: str,
) -> Verdict:
    """Make a verdict from check results; a check without a result is NOT-RUN.

    adapts: whether the predictor learned while it scored (track B). limits: the run's own, by their keys in
    metrics.json. comparable: whether the corpus is the challenge's. contamination: share of val's bytes that occur in
    train, None where it was not measured. header: probe_seed, predictor, artifact_sha256.
    """
    by_id = {result.check: result for result in check_results}
    results = tuple(by_id.get(check_id, CheckResult(check_id, NOT_RUN, note="no result")) for check_id in CHECKS)
    summary = _summarize(results, limits, comparable) + _describe_contamination(contamination)
    return Verdict(summary, _TRACKS[adapts], results, **header)


def summarize_record(record: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Return the summary that follows from verdict.json's rows, all of this version, and metrics.json's limits."""
    results = tuple(CheckResult(*(row[key] for key in _ROW_KEYS)) for row in record["checks"])
    summary = _summarize(results, metrics, metrics["comparable_with_fineweb"])
    return summary + _describe_contamination(metrics["val_contamination"])


def _summarize(results: tuple[CheckResult, ...], limits: dict[str, Any], comparable: bool) -> str:
    failed = [result for result in results if result.status == FAIL]
    if failed:
        main_failure = next((result for result in failed if result.check == "C3-f"), failed[0])
        names = ", ".join(result.check for result in failed)
        return f"{INVALID}: {names} ({main_failure.check}: {main_failure.note})"
    skipped = [result for result in results if CHECKS[result.check].essential and result.status == NOT_RUN]
    if skipped:
        names = ", ".join(result.check for result in skipped)
        return f"{_INCOMPLETE}: no check failed, but {names} could not run: {skipped[0].note}"
    blockers = _list_record_blockers(results, limits, comparable)
    disputed = "".join(
        f"; disputed: {CHECKS[result.check].title}, {result.note}" for result in results if result.status == UNRULED
    )
    return (f"{VALID}: {'; '.join(blockers)}" if blockers else RECORD_ELIGIBLE) + disputed


def _describe_contamination(contamination: float | None) -> str:
    """What the summary says of val's text in train; "" for a share that is small or unknown."""
    if contamination is None or contamination <= _MAX_CONTAMINATION:
        return ""
    return f"; {contamination:.1%} of val's bytes occur word for word in train, val_bpb_clean is the score on the rest"


def _list_record_blockers(results: tuple[CheckResult, ...], limits: dict[str, Any], comparable: bool) -> list[str]:
    """Reasons why a run without a failed check does not count as a record."""
    blockers = [] if comparable else ["the corpus is not a FineWeb export with a known byte count"]
    for key, contest_limit in _CONTEST_LIMITS.items():
        if limits[key] != contest_limit:
            run_limit = "none" if limits[key] is None else f"{limits[key]:,.10g}"
            blockers.append(f"{key} {run_limit}, not {contest_limit:,.10g}")
    if limits["code_counted"] != "bundle":
        blockers.append(f"compress.count {limits['code_counted']}: a record counts the bundle, which also trains")
    required = [result for result in results if CHECKS[result.check].required_for_record]
    blockers += [f"{result.check} UNRULED" for result in required if result.status == UNRULED]
    missing = [result for result in required if result.status == NOT_RUN]
    blockers += [f"{result.check} NOT-RUN: {result.measured}" for result in missing if result.check == "B-e"]
    missing_ids = [result.check for result in missing if result.check != "B-e"]
    return [*blockers, f"{', '.join(missing_ids)} NOT-RUN"] if missing_ids else blockers


def load_report(path: str | Path = VERDICT_PATH, *, show_all: bool = False) -> tuple[str, bool]:
    """Render a verdict.json as text; return it, and whether it is not valid.

    Raises ArtifactError for a missing or malformed file.
    """
    record = read_verdict(path)
    has_failure = any(row["status"] == FAIL for row in record["checks"])
    is_valid = record["verdict"].startswith((RECORD_ELIGIBLE, VALID))
    return render_verdict(record, show_all=show_all), has_failure or not is_valid


def read_verdict(path: str | Path) -> dict[str, Any]:
    """Return the content of a verdict.json. Raises ArtifactError for a missing or malformed file."""
    record = io.read_json(path)
    checks = record.get("checks")
    is_well_formed = isinstance(checks, list) and all(_is_check_row(row) for row in checks)
    if not is_well_formed or not all(isinstance(record.get(key), str) for key in _HEADER_KEYS):
        raise ArtifactError(path, "is not a verdict.json of this version", "run: dvc repro -f -s evaluate")
    return record


def _is_check_row(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in (*_ROW_KEYS, "title", "docs"))


def render_verdict(record: dict[str, Any], *, show_all: bool = True) -> str:
    """Render a verdict.json as text, 80 columns wide: every check, then the summary.

    Without ``show_all`` it is short enough for a screen: the summary first, and checks that pass only by their ids.
    """
    lines = render_row("check", "", "measured", "limit")
    lines += render_results([CheckResult(*(row[key] for key in _ROW_KEYS)) for row in record["checks"]], show_all)
    statuses = [row["status"] for row in record["checks"]]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in (PASS, FAIL, UNRULED, NOT_RUN))
    subject = f"{record['predictor']} on {record['artifact_sha256'][:12]}, track {record['track']}"
    summary_lines = [
        line for text in (subject, record["verdict"]) for line in textwrap.wrap(replace_unprintable(text), LINE_WIDTH)
    ]
    if show_all:
        return "\n".join([*lines, "", counts, *summary_lines])
    footer = "all rows: golf verdict --all; meaning of each check: docs/evaluation-rules.md"
    return "\n".join([*summary_lines, "", *lines, "", counts, footer])
