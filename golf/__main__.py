"""``python -m golf``: check params.yaml or a submission, explain an artifact, compare runs, show the last result."""

import argparse
import sys
from pathlib import Path

from golf.ground.errors import GolfError


class Failed(Exception):
    """A report that is printed as it is, with exit code 1."""


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 after one message."""
    asked = parser().parse_args(arguments)
    try:
        print(asked.run(asked))
    except Failed as failed:
        print(failed)
        return 1
    except GolfError as error:
        print(f"golf {asked.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="golf",
        description="Train, compress and honestly score the best small language model that fits in 16,000,000 bytes.",
        epilog="The pipeline itself: dvc repro (all of it), dvc repro -f -s evaluate (one stage), dvc dag (the graph).",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("params", help="check params.yaml (or FILE) and name every problem")
    check.add_argument("file", nargs="?", default="params.yaml", type=Path)
    check.set_defaults(run=run_params)
    look = commands.add_parser("inspect", help="explain any artifact in a screenful")
    look.add_argument("path", type=Path)
    look.set_defaults(run=run_inspect)
    results = commands.add_parser("results", help="the table of the last run: bpb, bytes, seconds, verdict")
    results.set_defaults(run=run_results)
    look = commands.add_parser("lineage", help="the whole ancestry of an artifact as a tree")
    look.add_argument("path", type=Path)
    look.set_defaults(run=run_lineage)
    both = commands.add_parser("compare", help="two runs on the same text, document by document: is it noise?")
    both.add_argument("ledgers", nargs="*", type=Path, metavar="LEDGER", help="the one before, the one after")
    both.add_argument("--before", nargs="+", type=Path, default=[], metavar="LEDGER", help="several seeds of one side")
    both.add_argument("--after", nargs="+", type=Path, default=[], metavar="LEDGER", help="as many of the other")
    both.set_defaults(run=run_compare)
    judged = commands.add_parser(
        "check", help="the verdict of the last run, or what can be said of FOLDER without a GPU"
    )
    judged.add_argument("folder", nargs="?", type=Path, help="somebody's submission; none: artifacts/evaluate here")
    judged.add_argument("--baseline", type=Path, help="the submission that FOLDER should beat, or its submission.json")
    judged.add_argument("--all", action="store_true", help="show every row, those that pass too")
    judged.add_argument("--strict", action="store_true", help="exit with 1 when anything fails")
    judged.set_defaults(run=run_check)
    pictures = commands.add_parser("plot", help="the tables of the last run and of the benchmark as PNG")
    pictures.add_argument("--out", default="artifacts/plots", type=Path, metavar="FOLDER", help="%(default)s")
    pictures.set_defaults(run=run_plot)
    speeds = commands.add_parser("performance", help="the table of speeds that benchmarks/results holds")
    doing = speeds.add_mutually_exclusive_group()
    doing.add_argument("--write", type=Path, metavar="FILE", help="put it between FILE's markers")
    doing.add_argument("--check", type=Path, metavar="FILE", help="only compare with what stands there")
    speeds.set_defaults(run=run_performance)
    deps = commands.add_parser("deps", help="write each stage's imports into dvc.yaml; --check only compares")
    deps.add_argument("--check", action="store_true")
    deps.set_defaults(run=run_deps)
    ci = commands.add_parser("ci", help="what a fresh clone pulls to run one stage; whether two metrics.json agree")
    doing = ci.add_subparsers(dest="doing", required=True, metavar="deps|compare")
    pull = doing.add_parser("deps", help="the cached dependencies of STAGE, for dvc pull")
    pull.add_argument("stage", nargs="?", default="evaluate")
    pull.set_defaults(run=run_ci_deps)
    compare = doing.add_parser("compare", help="scores within a tolerance and bytes exactly; seconds may differ")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    compare.set_defaults(run=run_ci_compare)
    return made


def run_params(asked) -> str:
    from golf.ground import params

    checked = params.read(asked.file)
    return f"{asked.file}: sound (profile {checked.profile})"


def run_inspect(asked) -> str:
    from golf.looking import inspect

    return inspect.explain(asked.path)


def run_results(asked) -> str:
    from golf.looking import results, stale

    return "\n".join([results.table(), *filter(None, [stale.remark()])])


def run_lineage(asked) -> str:
    from golf.looking import ancestry

    return ancestry.tree(asked.path)


def run_compare(asked) -> str:
    from golf.looking import compare

    if asked.ledgers and (asked.before or asked.after or len(asked.ledgers) != 2):
        raise GolfError("give two ledgers, or several as --before A1 A2 … --after B1 B2 …")
    before, after = (asked.ledgers[:1], asked.ledgers[1:]) if asked.ledgers else (asked.before, asked.after)
    return compare.compare(before, after)


def run_check(asked) -> str:
    """Raises Failed with the same report when --strict asks for it and something fails; GolfError for a baseline that
    nothing is to be compared with.
    """
    if asked.folder is None:
        from golf.looking import stale
        from golf.rules import verdict

        if asked.baseline is not None:
            raise GolfError("--baseline is what a FOLDER should beat; give both: golf check FOLDER --baseline OTHER")
        report, failed = verdict.of_run(whole=asked.all)
        if other := stale.remark():
            report, failed = f"{report}\n{other}", True
    else:
        from golf.submission import check

        report, failed = check.report(asked.folder, asked.baseline, whole=asked.all)
    if failed and asked.strict:
        raise Failed(report)
    return report


def run_plot(asked) -> str:
    from golf.looking import pictures

    return pictures.plot(asked.out)


def run_performance(asked) -> str:
    from golf.looking import performance

    if asked.write:
        return performance.write(asked.write)
    return performance.check(asked.check) if asked.check else performance.table()


def run_deps(asked) -> str:
    from golf.looking import deps

    return deps.check() if asked.check else deps.write()


def run_ci_deps(asked) -> str:
    from golf.looking import ci

    return ci.deps(asked.stage)


def run_ci_compare(asked) -> str:
    from golf.looking import ci

    return ci.compare(asked.before, asked.after)


if __name__ == "__main__":
    sys.exit(main())
