"""``golf doctor``: this machine."""

import argparse

from golf.cli.commands.outcomes import finish_report

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    doctor = commands.add_parser(
        "doctor",
        help="show what this machine has and lacks, with hints",
        epilog="example: golf doctor --json",
        description="Show what this machine has and lacks: one line a check, ok, note or problem, with a hint. A "
        "small function is compiled, a matrix product measured, the fence raised in a process of its own. Nothing is "
        "changed. The exit code is 1 if a problem makes the pipeline impossible here.",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON, at the end")
    doctor.set_defaults(run=_run_doctor)


# The commands import what they use, so that each starts fast.


def _run_doctor(args: argparse.Namespace) -> str:
    from golf.cli.doctor import report

    text, has_problem = report.report_machine(as_json=args.json)
    return finish_report(text, has_problem, strict=True)
