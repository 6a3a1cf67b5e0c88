"""All checks of a submission, in the order in which they are shown."""

from collections.abc import Callable

from golf.submission.checks import clocks, files, readme, runs, scores, sizes, val_bytes
from golf.submission.checks.review import Review
from golf.submission.findings import CheckOutcome
from golf.submission.record_margin import check_margin

__all__ = ["run_checks"]

_CHECKS: tuple[Callable[[Review], CheckOutcome], ...] = (
    files.check_files,
    files.check_logs,
    runs.check_same_run,
    runs.check_source,
    runs.check_runs_of_seed,
    runs.check_seeds,
    val_bytes.check_val_in_train,
    val_bytes.check_implied_bytes,
    val_bytes.check_coverage,
    scores.check_claimed_scores,
    readme.check_readme,
    sizes.check_size,
    sizes.check_sizes_agree,
    clocks.check_training_time,
    clocks.check_eval_time,
    clocks.check_hardware,
    clocks.check_run_figures,
)


def run_checks(review: Review) -> list[CheckOutcome]:
    """Run all checks."""
    return [*(check(review) for check in _CHECKS), check_margin(review.submission, review.margin)]
