"""The README's table: every family, what catches it, and how many of the innocent were accused."""

import re
from pathlib import Path

from gallery.case import Violation
from gallery.cases import COMPLIANT, VIOLATIONS

README = Path(__file__).parents[2] / "README.md"
_LINE_BREAK = "<br>"
MARKED_TABLE = re.compile(r"(?<=<!-- gallery -->\n).*?(?=<!-- /gallery -->)", re.DOTALL)


def render_markdown(n_false_positives: int = 0) -> str:
    """A row for each family, its cheats in the order of their files' names. accused: innocents that a check accused."""
    families = sorted({case.family for case in VIOLATIONS.values() if case.family})
    compliant_names = "; ".join(sorted(case.name for case in COMPLIANT.values()))
    return "\n".join(
        [
            "| | cheats | caught by | seen in |",
            "|---|---|---|---|",
            *map(_render_family, [*families, 0]),
            "",
            f"{len(VIOLATIONS)} cheats of {len(families)} families: {_summarize_outcomes()}.",
            "",
            f"{len(COMPLIANT)} innocents, {n_false_positives} accused: {compliant_names}.",
            "",
        ]
    )


def _render_family(family: int) -> str:
    cases = [case for case in VIOLATIONS.values() if case.family == family]
    threads = sorted({word for case in cases for word in case.threads.split()}, key=lambda word: (len(word), word))
    names, outcomes = (
        _LINE_BREAK.join(values) for values in ([case.name for case in cases], map(_format_outcome, cases))
    )
    return f"| {family or '–'} | {names} | {outcomes} | {' '.join(threads)} |"


def _summarize_outcomes() -> str:
    """How the cheats end."""
    n_invalid = sum(case.expected_status == "FAIL" and not case.error_pattern for case in VIOLATIONS.values())
    n_refused = sum(bool(case.error_pattern) for case in VIOLATIONS.values())
    n_unruled = sum(case.expected_status == "UNRULED" for case in VIOLATIONS.values())
    return (
        f"{n_invalid} are invalid, {n_refused} refused at once, {n_unruled} labelled UNRULED, as the contest left them, and "
        f"{len(VIOLATIONS) - n_invalid - n_refused - n_unruled} without lineage is never called valid"
    )


def _format_outcome(case: Violation) -> str:
    """The checks that catch it, and how where that is no FAIL of the verdict."""
    checks = ", ".join(case.expected_checks)
    if case.error_pattern:
        return f"{checks} (refused at once)"
    return checks if case.expected_status == "FAIL" else f"{checks} {case.expected_status}"


def write_readme() -> None:
    """Put the table between its markers in README.md; in tests/: ``PYTHONPATH=.. python -m gallery.table``."""
    README.write_text(
        MARKED_TABLE.sub(lambda _: render_markdown(), README.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    write_readme()
