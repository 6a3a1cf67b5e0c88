"""``golf validate``, ``inspect``, ``lineage`` and ``compare``: files of the pipeline."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import UsageError

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    validate = commands.add_parser(
        "validate", help="check params.yaml and DVC's own files", epilog="example: golf validate profiles/record.yaml"
    )
    validate.add_argument("file", nargs="?", default="params.yaml", type=Path, metavar="FILE", help="%(default)s")
    validate.set_defaults(run=_run_validate)

    inspect = commands.add_parser(
        "inspect",
        help="describe any artifact on one screen",
        epilog="example: golf inspect artifacts/compress/model.golf",
    )
    inspect.add_argument("path", type=Path, metavar="PATH", help="a file below artifacts/, or a folder")
    inspect.set_defaults(run=_run_inspect)

    lineage = commands.add_parser(
        "lineage",
        help="show an artifact's lineage as a tree",
        epilog="example: golf lineage artifacts/compress/model.golf",
    )
    lineage.add_argument("path", type=Path, metavar="PATH", help="a file below artifacts/")
    lineage.set_defaults(run=_run_lineage)

    compare = commands.add_parser(
        "compare",
        help="compare two runs on the same text, with intervals",
        epilog="example: golf compare --before a1.safetensors a2.safetensors --after b1.safetensors b2.safetensors",
        description="Compare two runs on the same text document by document: is the difference larger than noise? "
        "Several runs on each side, paired by seed in the given order, add an interval over seeds.",
    )
    compare.add_argument("ledgers", nargs="*", type=Path, metavar="LEDGER", help="the ledger before, the ledger after")
    compare.add_argument(
        "--before", nargs="+", type=Path, default=[], metavar="LEDGER", help="one ledger for each seed"
    )
    compare.add_argument("--after", nargs="+", type=Path, default=[], metavar="LEDGER", help="as many ledgers")
    compare.add_argument("--json", action="store_true", help="print the figures as JSON")
    compare.set_defaults(run=_run_compare)


# The commands import what they use, so that each starts fast.


def _run_validate(args: argparse.Namespace) -> str:
    from golf.cli import params_check
    from golf.config import loader
    from golf.pipeline import dvc_state

    cfg = loader.load_config(args.file)
    params_check.require_usable_settings(cfg, args.file)
    dvc_state.require_intact_dvc_state()
    return f"{args.file}: OK (profile {cfg.profile})"


def _run_inspect(args: argparse.Namespace) -> str:
    from golf.cli import inspect

    return inspect.describe(args.path)


def _run_lineage(args: argparse.Namespace) -> str:
    from golf.cli import lineage_tree

    return lineage_tree.render_tree(args.path)


def _run_compare(args: argparse.Namespace) -> str:
    """Raises UsageError unless the ledgers are named in one of the two ways."""
    from golf.cli import compare

    has_sides = bool(args.before or args.after)
    if bool(args.ledgers) == has_sides or (args.ledgers and len(args.ledgers) != 2):
        raise UsageError("expected two ledgers, or several as --before A1 A2 … --after B1 B2 …")
    before, after = (args.before, args.after) if has_sides else (args.ledgers[:1], args.ledgers[1:])
    return compare.compare_ledgers(before, after, as_json=args.json)
