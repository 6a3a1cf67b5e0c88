"""``golf report``: one HTML page of a run or a campaign that needs no network, no script and no other file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from golf.cli.commands.outcomes import UsageError
from golf.pipeline.progress import format_count

if TYPE_CHECKING:
    from golf.cli.report.page import PageSection

__all__ = ["add_commands", "write_campaign_report", "write_report"]

_DEFAULT_RUN, _DEFAULT_OUT = Path("artifacts"), Path("report.html")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "report",
        help="write one HTML page of a run or a campaign",
        description="Write one self-contained HTML page. Of a run: stages, losses, scores, bytes, verdict and lineage. "
        "Of a campaign: seeds, mean and deviation, scores over documents, tests against a baseline, verdict, lineage. "
        "It needs no network and no script. What was not measured says NOT-RUN.",
        epilog="example: golf report --out report.html",
    )
    parser.add_argument("--out", default=_DEFAULT_OUT, type=Path, metavar="FILE.html", help="%(default)s")
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument(
        "--run",
        dest="folder",
        default=_DEFAULT_RUN,
        type=Path,
        metavar="FOLDER",
        help="the run's artifacts folder (artifacts); benchmarks/results is looked for beside it",
    )
    subject.add_argument("--campaign", metavar="NAME", help="a campaign, by name or folder, instead of a run")
    parser.add_argument(
        "--baseline",
        metavar="OTHER",
        help="with --campaign: another campaign, or a submission folder or submission.json, to test against",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> str:
    """Raises UsageError for a baseline without a campaign."""
    if args.campaign is not None:
        return write_campaign_report(args.campaign, args.out, args.baseline)
    if args.baseline is not None:
        raise UsageError("--baseline needs --campaign: a run has no seeds to test")
    return write_report(args.folder, args.out)


def write_report(folder: Path, out: Path) -> str:
    """Write the page of the run in ``folder``, its artifacts, to ``out``; return a line that says so.

    Raises InputError if ``folder`` is no run or ``out`` no place for a page, ArtifactError for a damaged file.
    """
    from golf.cli.report import byte_sections, lineage_section, run_sections, score_sections
    from golf.cli.report.run_files import RunFiles
    from golf.errors import InputError
    from golf.pipeline.stage_names import STAGES

    if not folder.is_dir() or not any((folder / stage).is_dir() for stage in STAGES):
        raise InputError(
            f"--run {folder}: not the artifacts of a run, expected a folder with {', '.join(STAGES)} or some of them; "
            "make one with: dvc repro"
        )
    _require_html_name(out)
    run = RunFiles(folder, folder.absolute().parent / "benchmarks/results")
    evaluation = run.read_evaluation()
    sections = [
        score_sections.render_result_section(run, evaluation),
        run_sections.render_pipeline_section(run),
        run_sections.render_training_section(run),
        run_sections.render_averages_section(run),
        score_sections.render_scores_section(run, evaluation),
        byte_sections.render_tensor_bits_section(run),
        byte_sections.render_bytes_section(run),
        byte_sections.render_rate_distortion_section(run),
        score_sections.render_scoreboard_section(run, evaluation),
        score_sections.render_verdict_section(run, evaluation),
        lineage_section.render_lineage_section(run),
    ]
    return _write_page(out, "golf: report of a run", sections, "the run")


def write_campaign_report(source: str, out: Path, baseline_source: str | None = None) -> str:
    """Write the page of a campaign, given by name or folder, to ``out``; return a line that says so.

    baseline_source: a campaign, by name or folder, or a submission, whose scores are tested against; None: none.
    Raises InputError if there is no such campaign or no score in it, if the baseline does not compare, or if ``out`` is
    no place for a page; ArtifactError for a damaged file.
    """
    from golf.cli.campaign import baseline, state
    from golf.cli.report import campaign_files, campaign_lineage, campaign_scores

    _require_html_name(out)
    campaign = state.load_by_name(source, "--campaign")
    other = None if baseline_source is None else baseline.load_baseline(baseline_source)
    files = campaign_files.open_campaign_files(campaign, other)
    sections = [
        campaign_scores.render_result_section(files),
        campaign_scores.render_seeds_section(files),
        campaign_scores.render_modes_section(files),
        campaign_scores.render_documents_section(files),
        campaign_scores.render_baseline_section(files),
        campaign_scores.render_verdicts_section(files),
        campaign_lineage.render_settings_section(files),
        campaign_lineage.render_lineage_section(files),
    ]
    return _write_page(out, f"golf: report of campaign {campaign.name}", sections, "the campaign")


def _require_html_name(out: Path) -> None:
    """Raises InputError unless a page can have this name."""
    from golf.errors import InputError

    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise InputError(f"--out {out}: expected a file name that ends in .html or .htm")


def _write_page(out: Path, title: str, sections: "Sequence[PageSection]", subject: str) -> str:
    """Write a page. subject: whose files alone it was made from. Returns a line that says what was written."""
    from golf.artifacts import io
    from golf.cli.report import page

    footer = f"Made by golf report from the files of {subject} alone; this page loads nothing and runs no script."
    html = page.render_page(title, sections, footer).encode()
    io.write_bytes(out, html)
    return f"{out}: {len(html):,} bytes, {format_count(len(sections), 'section')}"
