"""The command line: ``golf COMMAND``, or ``python -m golf COMMAND``."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from golf.cli.commands import artifacts, bundle, campaigns, last_run, machine, model, submissions, text_codec
from golf.cli.commands.outcomes import ReportFailedError, UsageError
from golf.cli.preflight import command as preflight
from golf.cli.report import command as report
from golf.distributed.packages import get_installed_version
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 if it is done, 1 after an error or a failed report, 2 for wrong arguments.

    Ctrl-C ends a command with 130, as a shell counts it.
    Wrong arguments that argparse itself detects raise SystemExit with code 2.
    """
    text_streams.accept_all_text()
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in _RENAMED_COMMANDS:
        print(f"golf {argv[0]}: renamed, use {_RENAMED_COMMANDS[argv[0]]}", file=sys.stderr)
        return 2
    parser = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(argv)
    try:
        print(args.run(args), flush=True)
    except ReportFailedError as report:
        print(report)
        return 1
    except UsageError as error:
        print(f"golf {args.command}: {error}", file=sys.stderr)
        return 2
    except GolfError as error:
        print(f"golf {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
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
        usage="golf [-h] [--version] COMMAND ...",
        description="Train, compress and honestly score the best small model of text in N bytes.",
        epilog="golf COMMAND --help shows an example. The pipeline: dvc repro, dvc dag.",
        formatter_class=_CommandListFormatter,
        add_help=False,
    )
    root_parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    root_parser.add_argument("--version", action=_VersionAction, help=argparse.SUPPRESS)
    commands = root_parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title=argparse.SUPPRESS, prog="golf"
    )
    for group in (artifacts, preflight, last_run, campaigns, report, submissions, bundle, text_codec, model, machine):
        group.add_commands(commands)
    return root_parser


class _CommandListFormatter(argparse.HelpFormatter):
    """Lists one command a line and nothing else, so that all of them fit a terminal of 24 lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 20  # the longest name, check-submission, with its indentation

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if action.dest == "command" else text


class _VersionAction(argparse.Action):
    """Prints the version. It is an action of its own so that Git runs only if the option is given."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(format_version())
        parser.exit()


def format_version() -> str:
    """Return ``golf``, the version of the installed package and, in a Git checkout of golf, its commit."""
    version = get_installed_version("golf") or "(not installed)"
    checkout = Path(__file__).parents[2]
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    if not (checkout / ".git").exists():
        return f"golf {version}"
    try:
        commit = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no Git, or no commit yet
        return f"golf {version}"
    return f"golf {version}, commit {commit}"
