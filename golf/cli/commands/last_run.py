"""``golf results``, ``plot``, ``verdict`` and ``prove``: the last run and its proof."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import UsageError, add_report_options, finish_report
from golf.cli.commands.scoring_modes import MODES

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    results = commands.add_parser(
        "results", help="show the last run: bpb, bytes, seconds, verdict", epilog="example: golf results"
    )
    results.add_argument("--bytes", action="store_true", help="show the costs by byte that golf prove wrote")
    results.add_argument("--mode", choices=MODES, default="ttt", help="of --bytes (%(default)s)")
    results.set_defaults(run=_run_results)

    plot = commands.add_parser(
        "plot", help="draw the tables of the last run as PNG files", epilog="example: golf plot --out artifacts/plots"
    )
    plot.add_argument("--out", default="artifacts/plots", type=Path, metavar="FOLDER", help="%(default)s")
    plot.set_defaults(run=_run_plot)

    verdict = commands.add_parser(
        "verdict", help="show the compliance checks of the last run", epilog="example: golf verdict --all --strict"
    )
    add_report_options(verdict, strict_help="exit with code 1 unless the verdict is valid and current")
    verdict.set_defaults(run=_run_verdict)

    prove = commands.add_parser(
        "prove",
        help="prove the scores of a saved ledger by a new predictor",
        epilog="example: golf prove --places 16",
        description="Open the artifact again and compare its predictions with the sealed scores of a ledger of val, at "
        "random places of every chunk. On another machine the tolerances are wider.",
    )
    for name, default, meaning in (
        ("ledger", "artifacts/evaluate/ledgers/ttt.safetensors", "the scores"),
        ("artifact", "artifacts/compress/model.golf", "what the predictor opens"),
        ("plan", "artifacts/ttt/plan.json", "how it adapts"),
        ("code", "artifacts/evaluate/code.tar.xz", "the predictor's packed code"),
    ):
        prove.add_argument(
            f"--{name}", type=Path, default=Path(default), metavar="FILE", help=f"{meaning} (%(default)s)"
        )
    places = prove.add_mutually_exclusive_group()
    places.add_argument("--places", type=int, metavar="N", help="targets of each chunk (evaluate.proof_places)")
    places.add_argument("--all", action="store_true", help="every target")
    prove.add_argument("--bytes", action="store_true", help="with --all: also write the scores byte by byte")
    prove.set_defaults(run=_run_prove)


# The commands import what they use, so that each starts fast.


def _run_results(args: argparse.Namespace) -> str:
    from golf.cli import byte_report, results

    return byte_report.render_byte_costs(args.mode) if args.bytes else results.render_table()


def _run_plot(args: argparse.Namespace) -> str:
    from golf.cli import plots

    return plots.draw_plots(args.out)


def _run_verdict(args: argparse.Namespace) -> str:
    from golf.cli import results

    return finish_report(*results.render_verdict(show_all=args.all), strict=args.strict)


def _run_prove(args: argparse.Namespace) -> str:
    from golf.cli import prove

    if args.places is not None and args.places < 1:
        raise UsageError(f"--places must be at least 1, got {args.places}")
    if args.bytes and not args.all:
        raise UsageError("--bytes needs --all: the bytes of every target")
    paths = prove.ProofPaths(args.ledger, args.artifact, args.plan, args.code)
    text, is_contradicted = prove.prove_ledger(paths, args.places, prove_all=args.all, write_bytes=args.bytes)
    return finish_report(text, is_contradicted, strict=True)
