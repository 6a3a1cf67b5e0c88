"""``python -m golf``: check params.yaml or a submission, explain an artifact, compare runs, show the last result."""

import argparse
import sys
from pathlib import Path

from golf.errors import GolfError


class _ReportFailedError(Exception):
    """A report that is printed as it is, with exit code 1."""


def main(argv: list[str] | None = None) -> int:
    """0, or 1 after one message."""
    args = _build_parser().parse_args(argv)
    try:
        print(args.run(args))
    except _ReportFailedError as failure:
        print(failure)
        return 1
    except GolfError as error:
        print(f"golf {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return 0


def _build_parser() -> argparse.ArgumentParser:
    root_parser = argparse.ArgumentParser(
        prog="golf",
        description="Train, compress and honestly score the best small language model that fits in 16,000,000 bytes.",
        epilog="The pipeline itself: dvc repro (all of it), dvc repro -f -s evaluate (one stage), dvc dag (the graph).",
    )
    commands = root_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    params_parser = commands.add_parser("params", help="check params.yaml (or FILE) and name every problem")
    params_parser.add_argument("file", nargs="?", default="params.yaml", type=Path)
    params_parser.set_defaults(run=_run_params)
    artifact_parser = commands.add_parser("inspect", help="explain any artifact in a screenful")
    artifact_parser.add_argument("path", type=Path)
    artifact_parser.set_defaults(run=_run_inspect)
    results_parser = commands.add_parser("results", help="the table of the last run: bpb, bytes, seconds, verdict")
    results_parser.set_defaults(run=_run_results)
    artifact_parser = commands.add_parser("lineage", help="the whole ancestry of an artifact as a tree")
    artifact_parser.add_argument("path", type=Path)
    artifact_parser.set_defaults(run=_run_lineage)
    compare_parser = commands.add_parser(
        "compare", help="two runs on the same text, document by document: is it noise?"
    )
    compare_parser.add_argument("ledgers", nargs="*", type=Path, metavar="LEDGER", help="the one before, the one after")
    compare_parser.add_argument(
        "--before", nargs="+", type=Path, default=[], metavar="LEDGER", help="several seeds of one side"
    )
    compare_parser.add_argument(
        "--after", nargs="+", type=Path, default=[], metavar="LEDGER", help="as many of the other"
    )
    compare_parser.set_defaults(run=_run_compare)
    check_parser = commands.add_parser(
        "check", help="the verdict of the last run, or what can be said of FOLDER without a GPU"
    )
    check_parser.add_argument(
        "folder", nargs="?", type=Path, help="somebody's submission; none: artifacts/evaluate here"
    )
    check_parser.add_argument(
        "--baseline", type=Path, help="the submission that FOLDER should beat, or its submission.json"
    )
    check_parser.add_argument("--all", action="store_true", help="show every row, those that pass too")
    check_parser.add_argument("--strict", action="store_true", help="exit with 1 when anything fails")
    check_parser.set_defaults(run=_run_check)
    plot_parser = commands.add_parser("plot", help="the tables of the last run and of the benchmark as PNG")
    plot_parser.add_argument("--out", default="artifacts/plots", type=Path, metavar="FOLDER", help="%(default)s")
    plot_parser.set_defaults(run=_run_plot)
    performance_parser = commands.add_parser("performance", help="the table of speeds that benchmarks/results holds")
    actions = performance_parser.add_mutually_exclusive_group()
    actions.add_argument("--write", type=Path, metavar="FILE", help="put it between FILE's markers")
    actions.add_argument("--check", type=Path, metavar="FILE", help="only compare with what stands there")
    performance_parser.set_defaults(run=_run_performance)
    deps_parser = commands.add_parser("deps", help="write each stage's imports into dvc.yaml; --check only compares")
    deps_parser.add_argument("--check", action="store_true")
    deps_parser.set_defaults(run=_run_deps)
    ci_parser = commands.add_parser(
        "ci", help="what a fresh clone pulls to run one stage; whether two metrics.json agree"
    )
    actions = ci_parser.add_subparsers(dest="doing", required=True, metavar="deps|compare")
    ci_deps_parser = actions.add_parser("deps", help="the cached dependencies of STAGE, for dvc pull")
    ci_deps_parser.add_argument("stage", nargs="?", default="evaluate")
    ci_deps_parser.set_defaults(run=_run_ci_deps)
    ci_compare_parser = actions.add_parser(
        "compare", help="scores within a tolerance and bytes exactly; seconds may differ"
    )
    ci_compare_parser.add_argument("before", type=Path)
    ci_compare_parser.add_argument("after", type=Path)
    ci_compare_parser.set_defaults(run=_run_ci_compare)
    return root_parser


def _run_params(args) -> str:
    from golf.config import loader

    cfg = loader.load_config(args.file)
    return f"{args.file}: sound (profile {cfg.profile})"


def _run_inspect(args) -> str:
    from golf.cli import inspect

    return inspect.describe(args.path)


def _run_results(args) -> str:
    from golf.cli import results, stale

    return "\n".join([results.render_table(), *filter(None, [stale.format_stale_warning()])])


def _run_lineage(args) -> str:
    from golf.cli import lineage_tree

    return lineage_tree.render_tree(args.path)


def _run_compare(args) -> str:
    from golf.cli import compare

    if args.ledgers and (args.before or args.after or len(args.ledgers) != 2):
        raise GolfError("give two ledgers, or several as --before A1 A2 … --after B1 B2 …")
    before, after = (args.ledgers[:1], args.ledgers[1:]) if args.ledgers else (args.before, args.after)
    return compare.compare_ledgers(before, after)


def _run_check(args) -> str:
    """Raises Failed with the same report when --strict asks for it and something fails; GolfError for a baseline that
    nothing is to be compared with.
    """
    if args.folder is None:
        from golf.cli import stale
        from golf.compliance import verdict

        if args.baseline is not None:
            raise GolfError("--baseline is what a FOLDER should beat; give both: golf check FOLDER --baseline OTHER")
        text, has_failed = verdict.load_report(show_all=args.all)
        if warning := stale.format_stale_warning():
            text, has_failed = f"{text}\n{warning}", True
    else:
        from golf.submission import report as submission_report

        text, has_failed = submission_report.render_report(args.folder, args.baseline, show_all=args.all)
    if has_failed and args.strict:
        raise _ReportFailedError(text)
    return text


def _run_plot(args) -> str:
    from golf.cli import plots

    return plots.draw_plots(args.out)


def _run_performance(args) -> str:
    from benchmarks import report

    if args.write:
        return report.write_table(args.write)
    return report.check_table(args.check) if args.check else report.render_table()


def _run_deps(args) -> str:
    from tools import dvc_deps

    return dvc_deps.check_deps() if args.check else dvc_deps.write_deps()


def _run_ci_deps(args) -> str:
    from tools import ci

    return ci.format_deps_to_pull(args.stage)


def _run_ci_compare(args) -> str:
    from tools import ci

    return ci.compare_metrics(args.before, args.after)
