"""The gallery as a Markdown table: every family of violations, the checks that report it, and the compliant cases."""

from gallery.case import Violation
from gallery.cases import COMPLIANT, VIOLATIONS

_LINE_BREAK = "<br>"


def render_markdown() -> str:
    """A row for each family, its violations in the order of their modules' names, and what tests/gallery shows."""
    families = sorted({case.family for case in VIOLATIONS.values() if case.family})
    compliant_names = "; ".join(sorted(case.name for case in COMPLIANT.values()))
    return "\n".join(
        [
            "| family | violation | reported by | seen in |",
            "|---|---|---|---|",
            *map(_render_family, [*families, 0]),
            "",
            f"{len(VIOLATIONS)} violations in {len(families)} families: {_summarize_outcomes()}.",
            "",
            f"{len(COMPLIANT)} compliant predictors, none of which any check reports: {compliant_names}.",
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
    """How many violations end in each way."""
    n_invalid = sum(case.expected_status == "FAIL" and not case.error_pattern for case in VIOLATIONS.values())
    n_refused = sum(bool(case.error_pattern) for case in VIOLATIONS.values())
    n_unruled = sum(case.expected_status == "UNRULED" for case in VIOLATIONS.values())
    n_unknown = len(VIOLATIONS) - n_invalid - n_refused - n_unruled
    return (
        f"{n_invalid} end as invalid, {n_refused} are refused before scoring, {n_unruled} are labeled UNRULED because "
        f"the contest has not decided, and {n_unknown}, whose artifact has no lineage, is never called valid"
    )


def _format_outcome(case: Violation) -> str:
    """The checks that report a violation, and their status unless it is FAIL."""
    checks = ", ".join(case.expected_checks)
    if case.error_pattern:
        return f"{checks} (refused)"
    return checks if case.expected_status == "FAIL" else f"{checks} {case.expected_status}"
