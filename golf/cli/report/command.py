"""``golf report``: one HTML page of a run that needs no network, no script and no other file."""

import argparse
from pathlib import Path

__all__ = ["add_commands", "write_report"]

_DEFAULT_RUN, _DEFAULT_OUT = Path("artifacts"), Path("report.html")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "report",
        help="write one HTML page of a run, without network",
        description="Write one self-contained HTML page of a run: stages, losses, scores, bytes, verdict and lineage. "
        "It needs no network and no script. What was not measured says NOT-RUN.",
        epilog="example: golf report --out report.html",
    )
    parser.add_argument("--out", default=_DEFAULT_OUT, type=Path, metavar="FILE.html", help="%(default)s")
    parser.add_argument(
        "--run",
        dest="folder",
        default=_DEFAULT_RUN,
        type=Path,
        metavar="FOLDER",
        help="the run's artifacts folder (%(default)s); benchmarks/results is looked for beside it",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> str:
    return write_report(args.folder, args.out)


def write_report(folder: Path, out: Path) -> str:
    """Write the page of the run in ``folder``, its artifacts, to ``out``; return a line that says so.

    Raises InputError if ``folder`` is no run or ``out`` no place for a page, ArtifactError for a damaged file.
    """
    from golf.artifacts import io
    from golf.cli.report import byte_sections, lineage_section, page, run_sections, score_sections
    from golf.cli.report.run_files import STAGES, RunFiles
    from golf.errors import InputError

    if not folder.is_dir() or not any((folder / stage).is_dir() for stage in STAGES):
        raise InputError(
            f"--run {folder}: not the artifacts of a run, expected a folder with {', '.join(STAGES)} or some of them; "
            "make one with: dvc repro"
        )
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise InputError(f"--out {out}: expected a file name that ends in .html or .htm")
    run = RunFiles(folder, folder.absolute().parent / "benchmarks/results")
    evaluation = run.read_evaluation()
    sections = [
        score_sections.result_section(run, evaluation),
        run_sections.pipeline_section(run),
        run_sections.training_section(run),
        run_sections.averages_section(run),
        score_sections.scores_section(run, evaluation),
        byte_sections.bits_section(run),
        byte_sections.bytes_section(run),
        byte_sections.rate_distortion_section(run),
        score_sections.scoreboard_section(run, evaluation),
        score_sections.verdict_section(run, evaluation),
        lineage_section.lineage_section(run),
    ]
    footer = "Made by golf report from the files of the run alone; this page loads nothing and runs no script."
    html = page.render_page("golf: report of a run", sections, footer).encode()
    io.write_bytes(out, html)
    return f"{out}: {len(html):,} bytes, {len(sections)} sections"
