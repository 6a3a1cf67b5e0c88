"""``golf check-submission``: somebody's submission folder."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import add_report_options, finish_report

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    check_submission = commands.add_parser(
        "check-submission",
        help="check a submission folder of the contest",
        epilog="example: golf check-submission FOLDER --baseline OTHER --strict",
        description="Check a submission folder of the contest without a GPU and without running its code.",
    )
    check_submission.add_argument("folder", type=Path, metavar="FOLDER", help="with submission.json, logs and code")
    check_submission.add_argument(
        "--baseline", type=Path, metavar="OTHER", help="the submission to beat: a folder or a submission.json"
    )
    add_report_options(check_submission, strict_help="exit with code 1 if a check fails")
    check_submission.set_defaults(run=_run_check_submission)


# The commands import what they use, so that each starts fast.


def _run_check_submission(args: argparse.Namespace) -> str:
    from golf.submission import report

    text, has_failed = report.render_report(args.folder, args.baseline, show_all=args.all)
    return finish_report(text, has_failed, strict=args.strict)
