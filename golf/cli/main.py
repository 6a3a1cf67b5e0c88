"""The command line: ``golf COMMAND``, or ``python -m golf COMMAND``."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from golf.distributed.packages import installed_version
from golf.errors import GolfError
from golf.pipeline import os_errors, text_streams

__all__ = ["build_parser", "format_version", "main"]

_RENAMED_COMMANDS = {
    "params": "golf validate",
    "check": "golf verdict (the last run) or golf check-submission FOLDER",
    "performance": "python -m tools.docs",
    "deps": "python -m tools.dvc_deps",
    "ci": "python -m tools.ci",
}


class _ReportFailedError(Exception):
    """A report that is printed to stdout as it is, with exit code 1."""


class _UsageError(Exception):
    """Arguments that do not fit together: exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 if it is done, 1 after an error or a failed report, 2 for wrong arguments.

    Wrong arguments that argparse itself detects raise SystemExit with code 2.
    """
    text_streams.accept_all_text()
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in _RENAMED_COMMANDS:
        print(f"golf {argv[0]}: renamed, use {_RENAMED_COMMANDS[argv[0]]}", file=sys.stderr)
        return 2
    args = build_parser().parse_args(argv)
    try:
        print(args.run(args), flush=True)
    except _ReportFailedError as report:
        print(report)
        return 1
    except _UsageError as error:
        print(f"golf {args.command}: {error}", file=sys.stderr)
        return 2
    except GolfError as error:
        print(f"golf {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has ended, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports it again when it exits
        return 1
    except OSError as error:
        print(f"golf {args.command}: {os_errors.describe_os_error(error)}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        print(f"golf {args.command}: {text_streams.describe_encode_error(error)}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. docs/cli.md is generated from it."""
    root_parser = argparse.ArgumentParser(
        prog="golf",
        description="Train, compress and honestly score the best small model of text in N bytes.",
        epilog="The pipeline: dvc repro (all), dvc repro -f -s evaluate (one stage), dvc dag.",
    )
    root_parser.add_argument("--version", action=_VersionAction, help="print the version and the commit")
    commands = root_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    validate = commands.add_parser("validate", help="check params.yaml and DVC's own files")
    validate.add_argument("file", nargs="?", default="params.yaml", type=Path, metavar="FILE", help="%(default)s")
    validate.set_defaults(run=_run_validate)

    inspect = commands.add_parser("inspect", help="describe any artifact on one screen")
    inspect.add_argument("path", type=Path, metavar="PATH", help="a file below artifacts/, or a folder")
    inspect.set_defaults(run=_run_inspect)

    lineage = commands.add_parser("lineage", help="show an artifact's lineage as a tree")
    lineage.add_argument("path", type=Path, metavar="PATH", help="a file below artifacts/")
    lineage.set_defaults(run=_run_lineage)

    compare = commands.add_parser(
        "compare",
        help="compare two runs on the same text, with intervals",
        description="Compare two runs on the same text document by document: is the difference larger than noise? "
        "Several runs on each side, paired by seed in the given order, add an interval over seeds.",
    )
    compare.add_argument("ledgers", nargs="*", type=Path, metavar="LEDGER", help="the ledger before, the ledger after")
    compare.add_argument(
        "--before", nargs="+", type=Path, default=[], metavar="LEDGER", help="one ledger for each seed"
    )
    compare.add_argument("--after", nargs="+", type=Path, default=[], metavar="LEDGER", help="as many ledgers")
    compare.set_defaults(run=_run_compare)

    results = commands.add_parser("results", help="show the last run: bpb, bytes, seconds, verdict")
    results.set_defaults(run=_run_results)

    plot = commands.add_parser("plot", help="draw the tables of the last run as PNG files")
    plot.add_argument("--out", default="artifacts/plots", type=Path, metavar="FOLDER", help="%(default)s")
    plot.set_defaults(run=_run_plot)

    verdict = commands.add_parser("verdict", help="show the compliance checks of the last run")
    _add_report_options(verdict, strict_help="exit with code 1 unless the verdict is valid and current")
    verdict.set_defaults(run=_run_verdict)

    prove = commands.add_parser(
        "prove",
        help="prove the scores of a saved ledger by a new predictor",
        description="Open the artifact anew and hold its predictions against the sealed scores of a ledger of val, at "
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
    prove.set_defaults(run=_run_prove)

    check_submission = commands.add_parser(
        "check-submission",
        help="check a submission folder of the contest",
        description="Check a submission folder of the contest without a GPU and without running its code.",
    )
    check_submission.add_argument("folder", type=Path, metavar="FOLDER", help="with submission.json, logs and code")
    check_submission.add_argument(
        "--baseline", type=Path, metavar="OTHER", help="the submission to beat: a folder or a submission.json"
    )
    _add_report_options(check_submission, strict_help="exit with code 1 if a check fails")
    check_submission.set_defaults(run=_run_check_submission)

    encode = commands.add_parser(
        "encode",
        help="compress a text losslessly with the artifact",
        description="Compress any file, or a split of fetch, losslessly with the artifact's own distributions and a "
        "range coder. The size follows from the claimed bits per byte, so decoding proves the claim.",
    )
    encode.add_argument("file", nargs="?", type=Path, metavar="FILE", help="any bytes; or give --split")
    encode.add_argument(
        "--split", choices=("dev", "val"), help="encode this split's tokens; its text: a document a line"
    )
    encode.add_argument("--mode", choices=("plain", "sliding", "ttt"), help="scoring mode; default: evaluate.headline")
    encode.add_argument(
        "--predict", action="store_true", help="predict each token anew, keeping no keys and values: much slower"
    )
    _add_codec_options(encode, out_help="default: FILE.golfz, or SPLIT.txt.golfz")
    encode.set_defaults(run=_run_encode)

    decode = commands.add_parser(
        "decode",
        help="give back the text that golf encode compressed",
        description="Give back the text that golf encode compressed, byte for byte. A damaged file, another artifact "
        "or a machine that computes differently is refused.",
    )
    decode.add_argument("file", type=Path, metavar="FILE", help="written by golf encode")
    _add_codec_options(decode, out_help="default: FILE without .golfz")
    decode.set_defaults(run=_run_decode)
    return root_parser


def _add_codec_options(parser: argparse.ArgumentParser, *, out_help: str) -> None:
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help=out_help)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    paths = {
        "artifact": "artifacts/compress/model.golf",
        "tokenizer": "artifacts/fetch/tokenizer.model",
        "plan": "artifacts/ttt/plan.json",
    }
    for name, path in paths.items():
        parser.add_argument(f"--{name}", default=path, type=Path, metavar="PATH", help="%(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def _add_report_options(parser: argparse.ArgumentParser, *, strict_help: str) -> None:
    parser.add_argument("--all", action="store_true", help="show every check, also those that pass")
    parser.add_argument("--strict", action="store_true", help=strict_help)


class _VersionAction(argparse.Action):
    """Prints the version. It is an action of its own so that Git runs only if the option is given."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(format_version())
        parser.exit()


def format_version() -> str:
    """Return ``golf``, the version of the installed package and, in a Git checkout of golf, its commit."""
    version = installed_version("golf") or "(not installed)"
    checkout = Path(__file__).parents[2]
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    if not (checkout / ".git").exists():
        return f"golf {version}"
    try:
        commit = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no Git, or no commit yet
        return f"golf {version}"
    return f"golf {version}, commit {commit}"


# The commands import what they use, so that each starts fast.


def _run_validate(args: argparse.Namespace) -> str:
    from golf.config import loader
    from golf.pipeline import dvc_state

    cfg = loader.load_config(args.file)
    dvc_state.require_intact_dvc_state()
    return f"{args.file}: OK (profile {cfg.profile})"


def _run_inspect(args: argparse.Namespace) -> str:
    from golf.cli import inspect

    return inspect.describe(args.path)


def _run_lineage(args: argparse.Namespace) -> str:
    from golf.cli import lineage_tree

    return lineage_tree.render_tree(args.path)


def _run_compare(args: argparse.Namespace) -> str:
    """Raises _UsageError unless the ledgers are named in one of the two ways."""
    from golf.cli import compare

    has_sides = bool(args.before or args.after)
    if bool(args.ledgers) == has_sides or (args.ledgers and len(args.ledgers) != 2):
        raise _UsageError("expected two ledgers, or several as --before A1 A2 … --after B1 B2 …")
    before, after = (args.before, args.after) if has_sides else (args.ledgers[:1], args.ledgers[1:])
    return compare.compare_ledgers(before, after)


def _run_results(args: argparse.Namespace) -> str:
    from golf.cli import results

    return results.render_table()


def _run_plot(args: argparse.Namespace) -> str:
    from golf.cli import plots

    return plots.draw_plots(args.out)


def _run_verdict(args: argparse.Namespace) -> str:
    from golf.cli import results

    return _finish_report(*results.render_verdict(show_all=args.all), strict=args.strict)


def _run_prove(args: argparse.Namespace) -> str:
    from golf.cli import prove

    if args.places is not None and args.places < 1:
        raise _UsageError(f"--places must be at least 1, got {args.places}")
    paths = prove.ProofPaths(args.ledger, args.artifact, args.plan, args.code)
    text, is_contradicted = prove.prove_ledger(paths, args.places, prove_all=args.all)
    return _finish_report(text, is_contradicted, strict=True)


def _run_check_submission(args: argparse.Namespace) -> str:
    from golf.submission import report

    text, has_failed = report.render_report(args.folder, args.baseline, show_all=args.all)
    return _finish_report(text, has_failed, strict=args.strict)


def _run_encode(args: argparse.Namespace) -> str:
    """Raises _UsageError unless either a file or a split is named."""
    from golf.cli import text_codec

    if (args.file is None) == (args.split is None):
        raise _UsageError("expected either FILE or --split")
    files = text_codec.CodecFiles(artifact=args.artifact, tokenizer=args.tokenizer, plan=args.plan)
    return text_codec.encode_file(
        files,
        args.file,
        args.split,
        args.out,
        mode=args.mode,
        uses_predict=args.predict,
        force=args.force,
        as_json=args.json,
    )


def _run_decode(args: argparse.Namespace) -> str:
    from golf.cli import text_codec

    files = text_codec.CodecFiles(artifact=args.artifact, tokenizer=args.tokenizer, plan=args.plan)
    return text_codec.decode_file(files, args.file, args.out, force=args.force, as_json=args.json)


def _finish_report(text: str, has_failed: bool, *, strict: bool) -> str:
    """The text. Raises _ReportFailedError with it if a check failed and ``strict`` is set."""
    if has_failed and strict:
        raise _ReportFailedError(text)
    return text
