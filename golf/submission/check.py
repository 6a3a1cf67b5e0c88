"""``golf check FOLDER``: every check of somebody's submission that needs neither a GPU nor running its code."""

import textwrap
from pathlib import Path

from golf.rules.finding import FAIL, NOT_RUN, UNRULED, Finding
from golf.rules.table import WIDTH, screen
from golf.submission import bundle, clocks, margin, metric, sizes
from golf.submission.evidence import Evidence, gather

CHECKS = (
    bundle.files,
    bundle.readable,
    bundle.one_run,
    bundle.seeds,
    metric.implied_bytes,
    metric.coverage,
    metric.claimed,
    sizes.size,
    sizes.agreement,
    clocks.training,
    clocks.evaluation,
    clocks.hardware,
)
OF_RECORDS = ("B-e", "record margin")  # a run that fails these is no record, and not invalid


def check(folder: Path, baseline: Path | None = None) -> list[Finding]:
    """The findings on a submission's folder; baseline: a folder or submission.json that it should beat.

    Raises BadInput for a folder that is missing, empty or of too many files, and for a baseline without scores.
    """
    evidence = gather(folder)
    return findings(evidence, margin.margin(evidence, baseline))


def report(folder: Path, baseline: Path | None = None, *, whole: bool = False) -> tuple[str, bool]:
    """The findings as text of at most 80 columns, and whether any is FAIL. Without the ``whole``, what passes is only
    named. Raises as check does.
    """
    evidence = gather(folder)
    compared = margin.margin(evidence, baseline)
    found = findings(evidence, compared)
    statistics = [line for told in margin.lines(compared) for line in textwrap.wrap(told, WIDTH)]
    every = [] if whole else ["every row: --all"]
    text = "\n".join([*screen(found, whole), "", *statistics, "", *every, *closing(found)])
    return text, bool(named(found, FAIL))


def findings(evidence: Evidence, compared) -> list[Finding]:
    return [*(one(evidence) for one in CHECKS), margin.finding(evidence, compared)]


def closing(found: list[Finding]) -> list[str]:
    """What may be said of the whole; never that it is legal, as the probes need the artifact itself."""
    failed = named(found, FAIL)
    if invalid := [name for name in failed if name not in OF_RECORDS]:
        return textwrap.wrap(f"invalid: {', '.join(invalid)}", WIDTH)
    words = f"not a record run: {', '.join(failed)}" if failed else "nothing checked here fails"
    for status in (UNRULED, NOT_RUN):
        if names := named(found, status):
            words += f"; {status}: {', '.join(names)}"
    return textwrap.wrap(f"{words}; the probes, which need the artifact, are NOT-RUN", WIDTH)


def named(found: list[Finding], status: str) -> list[str]:
    return [one.check for one in found if one.status == status]
