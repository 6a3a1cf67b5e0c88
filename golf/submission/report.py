"""``golf check FOLDER``: every check of somebody's submission that needs neither a GPU nor running its code."""

import textwrap
from pathlib import Path

from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED, CheckResult
from golf.compliance.report import LINE_WIDTH, render_results
from golf.submission import completeness, metric_checks, record_margin, size_checks, time_checks
from golf.submission.contents import Submission, load_submission

_CHECKS = (
    completeness.check_files,
    completeness.check_logs,
    completeness.check_same_run,
    completeness.check_seeds,
    metric_checks.check_implied_bytes,
    metric_checks.check_coverage,
    metric_checks.check_claimed_scores,
    size_checks.check_size,
    size_checks.check_sizes_agree,
    time_checks.check_training_time,
    time_checks.check_eval_time,
    time_checks.check_hardware,
)
_RECORD_ONLY_CHECKS = ("B-e", "record margin")  # a run that fails these is no record, and not invalid


def check_submission(folder: Path, baseline: Path | None = None) -> list[CheckResult]:
    """The findings on a submission's folder; baseline: a folder or submission.json that it should beat.

    Raises BadInput for a folder that is missing, empty or of too many files, and for a baseline without scores.
    """
    submission = load_submission(folder)
    return _run_checks(submission, record_margin.compute_margin(submission, baseline))


def render_report(folder: Path, baseline: Path | None = None, *, show_all: bool = False) -> tuple[str, bool]:
    """The findings as text of at most 80 columns, and whether any is FAIL. Without the ``whole``, what passes is only
    named. Raises as check does.
    """
    submission = load_submission(folder)
    margin_result = record_margin.compute_margin(submission, baseline)
    results = _run_checks(submission, margin_result)
    statistics_lines = [
        line
        for statistic in record_margin.format_margin(margin_result)
        for line in textwrap.wrap(statistic, LINE_WIDTH)
    ]
    all_rows_hint = [] if show_all else ["every row: --all"]
    text = "\n".join(
        [*render_results(results, show_all), "", *statistics_lines, "", *all_rows_hint, *_format_summary(results)]
    )
    return text, bool(_ids_with_status(results, FAIL))


def _run_checks(submission: Submission, margin_result) -> list[CheckResult]:
    return [*(run_check(submission) for run_check in _CHECKS), record_margin.check_margin(submission, margin_result)]


def _format_summary(results: list[CheckResult]) -> list[str]:
    """What may be said of the whole; never that it is legal, as the probes need the artifact itself."""
    failed_ids = _ids_with_status(results, FAIL)
    if invalidating_ids := [name for name in failed_ids if name not in _RECORD_ONLY_CHECKS]:
        return textwrap.wrap(f"invalid: {', '.join(invalidating_ids)}", LINE_WIDTH)
    summary = f"not a record run: {', '.join(failed_ids)}" if failed_ids else "nothing checked here fails"
    for status in (UNRULED, NOT_RUN):
        if check_ids := _ids_with_status(results, status):
            summary += f"; {status}: {', '.join(check_ids)}"
    return textwrap.wrap(f"{summary}; the probes, which need the artifact, are NOT-RUN", LINE_WIDTH)


def _ids_with_status(results: list[CheckResult], status: str) -> list[str]:
    return [result.check for result in results if result.status == status]
