"""``golf campaign``: the same experiment with several seeds, and what its scores say."""

import argparse

from golf.cli.commands.outcomes import UsageError

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    parser = commands.add_parser(
        "campaign",
        help="run several seeds; show mean, deviation and tests",
        description="Run the experiment of params.yaml with several seeds, one after the other, each in a copy of the "
        "project (dvc exp run --temp). Seeds that have a score are not run again, so the same command resumes after "
        "an interrupt; other settings, code or data are refused. The table gives each seed, mean, standard deviation "
        "and one-sided tests against a baseline.",
        epilog="example: golf campaign --seeds 42 314 999 --set ttt.lr=0.0005 --baseline laptop-1a2b3c4d",
    )
    parser.add_argument("--seeds", nargs="+", type=_parse_seed, metavar="SEED", help="values of train.seed")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_parse_setting,
        metavar="KEY=VALUE",
        help="another value for a key of params.yaml; may be repeated",
    )
    parser.add_argument("--name", metavar="NAME", help="of the campaign; default: profile and digest of the settings")
    parser.add_argument(
        "--only", nargs="+", type=_parse_seed, metavar="SEED", help="run these now: one machine's share of --seeds"
    )
    parser.add_argument("--show", metavar="CAMPAIGN", help="run nothing; show this one, given by name or folder")
    parser.add_argument(
        "--baseline", metavar="OTHER", help="a campaign, by name or folder, or a submission folder or submission.json"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_run_campaign)


def _parse_seed(text: str) -> int:
    """An argument of --seeds."""
    if not text.isascii() or not text.isdigit() or int(text[:20]) > 2**63 - 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, got {text[:40]!r}")
    return int(text)


def _parse_setting(text: str) -> tuple[str, str]:
    """An argument of --set."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, as in ttt.lr=0.0005, got {text[:60]!r}")
    return key, value


# The command imports what it uses, so that each starts fast.


def _run_campaign(args: argparse.Namespace) -> str:
    """Raises UsageError unless either seeds or a campaign to show are given."""
    import json

    from golf.cli.campaign import baseline, experiments, runner, state, statistics, table

    if (args.show is None) == (args.seeds is None):
        raise UsageError("expected either --seeds SEED … or --show CAMPAIGN")
    if args.show is not None and (args.set or args.name or args.only):
        raise UsageError("--show takes no --set, --name or --only: it shows a campaign as it is")
    other = None if args.baseline is None else baseline.load_baseline(args.baseline)  # before hours are spent
    if args.show is None:
        request = runner.CampaignRequest(args.seeds, dict(args.set), args.name, args.only)
        campaign = runner.run_campaign(request, experiments.DvcExperiments())
    else:
        campaign = state.load_by_name(args.show, "--show")
    report = statistics.build_report(campaign, other)
    return json.dumps(report, indent=2, ensure_ascii=False) if args.json else table.render_report(report)
