"""``golf bundle``: the last run, and other seeds of it, as a submission folder of the contest."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import UsageError

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    bundle = commands.add_parser(
        "bundle",
        help="write the last run as a submission folder: one script, logs, README.md, submission.json",
        description="Write a submission folder in the contest's form. Its train_gpt.py is the file that compress "
        "weighed: it trains, compresses and scores without this repository.",
        epilog="example: golf bundle --campaign laptop-1a2b3c4d --out runs/submission",
    )
    bundle.add_argument(
        "--out", type=Path, default=Path("runs/submission"), metavar="FOLDER", help="new or empty (%(default)s)"
    )
    bundle.add_argument(
        "--runs", nargs="+", type=Path, default=[], metavar="FOLDER", help="workspaces of the same run with other seeds"
    )
    bundle.add_argument(
        "--campaign", metavar="CAMPAIGN", help="all seeds of this campaign, by name or folder, instead of the last run"
    )
    bundle.add_argument(
        "--params", type=Path, metavar="FILE", help="bundle these settings instead of the last run; nothing is measured"
    )
    bundle.add_argument("--author", default="unknown", metavar="TEXT", help="for submission.json (%(default)s)")
    bundle.add_argument("--github-id", default="unknown", metavar="TEXT", help="for submission.json (%(default)s)")
    bundle.add_argument("--name", default="golf", metavar="TEXT", help="of the submission (%(default)s)")
    bundle.set_defaults(run=_run_bundle)


# The commands import what they use, so that each starts fast.


def _run_bundle(args: argparse.Namespace) -> str:
    """Raises UsageError for more than one of --campaign, --params and --runs."""
    from golf.cli import bundle

    if args.params and args.runs:
        raise UsageError("expected either --params or --runs: settings that were not run have no logs")
    if args.campaign and (args.params or args.runs):
        raise UsageError("expected --campaign alone, without --params and --runs: a campaign has its own runs")
    author = args.author, args.github_id, args.name
    if args.params:
        return bundle.bundle_settings(args.out, args.params, author)
    if args.campaign:
        from golf.cli.campaign.experiments import DvcExperiments

        return bundle.bundle_campaign(args.out, args.campaign, author, DvcExperiments())
    return bundle.bundle_runs(args.out, args.runs, author)
