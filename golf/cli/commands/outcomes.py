"""Define how a command ends, and the options of commands that report checks."""

import argparse

__all__ = ["ReportFailedError", "UsageError", "add_report_options", "finish_report"]


class ReportFailedError(Exception):
    """A report that is printed to stdout as it is, with exit code 1."""


class UsageError(Exception):
    """Arguments that do not fit together: exit code 2."""


def add_report_options(parser: argparse.ArgumentParser, *, strict_help: str) -> None:
    """Add --all and --strict."""
    parser.add_argument("--all", action="store_true", help="show every check, also those that pass")
    parser.add_argument("--strict", action="store_true", help=strict_help)


def finish_report(text: str, has_failed: bool, *, strict: bool) -> str:
    """Return the text. Raises ReportFailedError with it if a check failed and ``strict`` is set."""
    if has_failed and strict:
        raise ReportFailedError(text)
    return text
