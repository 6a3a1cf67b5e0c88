"""``golf check-submission``: submission folders of the contest."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import ReportFailedError, add_report_options, finish_report

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    check_submission = commands.add_parser(
        "check-submission",
        help="check submission folders of the contest",
        description="Check submission folders of the contest without a GPU and without running their code. Of several, "
        "or of a folder that holds submissions, each gets a line.",
        epilog="example: golf check-submission records --json",
    )
    check_submission.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="with submission.json, logs and code; or folders of such",
    )
    check_submission.add_argument(
        "--baseline", type=Path, metavar="OTHER", help="the submission to beat: a folder or a submission.json"
    )
    add_report_options(
        check_submission, strict_help="exit with code 1 if a rule is broken or a folder contradicts itself"
    )
    check_submission.add_argument("--json", action="store_true", help="print the reviews as JSON")
    check_submission.set_defaults(run=_run_check_submission)


# The commands import what they use, so that each starts fast.


def _run_check_submission(args: argparse.Namespace) -> str:
    """Raises ReportFailedError also for a folder, among several, that can't be read."""
    from golf.submission import json_report, overview, record_margin, report

    baseline = record_margin.load_seed_scores(args.baseline) if args.baseline else ()
    results = overview.review_folders(args.folders, baseline)
    if args.json:
        text = json_report.render_json(results)
    elif len(results) == 1 and results[0].reviewed:
        text = report.render_review(results[0].reviewed, show_all=args.all)
    else:
        text = overview.render_overview(results)
    if any(result.reviewed is None for result in results):
        raise ReportFailedError(text)
    return finish_report(text, any(result.has_failed for result in results), strict=args.strict)
