"""``golf check-submission FOLDER``: all checks of a submission that need neither a GPU nor running its code."""

import textwrap
from pathlib import Path

from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED, CheckResult
from golf.compliance.report import LINE_WIDTH, render_results
from golf.submission import budget_checks, completeness, metric_checks, record_margin
from golf.submission.contents import Submission, load_submission
from golf.submission.record_margin import RecordMargin

__all__ = ["render_report"]

_CHECKS = (
    completeness.check_files,
    completeness.check_logs,
    completeness.check_same_run,
    completeness.check_seeds,
    metric_checks.check_implied_bytes,
    metric_checks.check_coverage,
    metric_checks.check_claimed_scores,
    budget_checks.check_size,
    budget_checks.check_sizes_agree,
    budget_checks.check_training_time,
    budget_checks.check_eval_time,
    budget_checks.check_hardware,
)
_RECORD_ONLY_CHECKS = ("B-e", "record margin")  # a run that fails one of these is not a record, but not invalid either


def render_report(folder: Path, baseline: Path | None = None, *, show_all: bool = False) -> tuple[str, bool]:
    """Return the results of all checks of a submission's folder as text of at most 80 columns, and whether any is FAIL.

    baseline: the folder or submission.json of the submission that it should beat. show_all: give every check its row;
    otherwise passed checks are only named. Raises InputError for a folder that is missing, empty or has too many files,
    and for a baseline without scores.
    """
    submission = load_submission(folder)
    margin = record_margin.compute_margin(submission, baseline)
    results = _run_checks(submission, margin)
    statistics_lines = [
        line for text in record_margin.format_margin(margin) for line in textwrap.wrap(text, LINE_WIDTH)
    ]
    hint = [] if show_all else ["every row: --all"]
    lines = [*render_results(results, show_all), "", *statistics_lines, "", *hint, *_format_summary(results)]
    return "\n".join(lines), bool(_ids_with_status(results, FAIL))


def _run_checks(submission: Submission, margin: RecordMargin | None) -> list[CheckResult]:
    return [*(run_check(submission) for run_check in _CHECKS), record_margin.check_margin(submission, margin)]


def _format_summary(results: list[CheckResult]) -> list[str]:
    """One statement about the submission; never that it is legal, because the proof needs the artifact itself."""
    failed_ids = _ids_with_status(results, FAIL)
    if invalidating_ids := [name for name in failed_ids if name not in _RECORD_ONLY_CHECKS]:
        return textwrap.wrap(f"invalid: {', '.join(invalidating_ids)}", LINE_WIDTH)
    summary = f"not a record run: {', '.join(failed_ids)}" if failed_ids else "no check failed"
    for status in (UNRULED, NOT_RUN):
        if check_ids := _ids_with_status(results, status):
            summary += f"; {status}: {', '.join(check_ids)}"
    return textwrap.wrap(f"{summary}; the proof, which needs the artifact, is NOT-RUN", LINE_WIDTH)


def _ids_with_status(results: list[CheckResult], status: str) -> list[str]:
    return [result.check for result in results if result.status == status]
