"""The README's table: every family, what catches it, and how many of the innocent were accused."""

import re
from pathlib import Path

from gallery.case import Cheat
from gallery.cases import CHEATS, INNOCENTS

README = Path(__file__).parents[2] / "README.md"
BREAK = "<br>"
MARKED = re.compile(r"(?<=<!-- gallery -->\n).*?(?=<!-- /gallery -->)", re.DOTALL)


def markdown(accused: int = 0) -> str:
    """A row for each family, its cheats in the order of their files' names. accused: innocents that a check accused."""
    families = sorted({case.family for case in CHEATS.values() if case.family})
    innocents = "; ".join(sorted(case.name for case in INNOCENTS.values()))
    return "\n".join(
        [
            "| | cheats | caught by | seen in |",
            "|---|---|---|---|",
            *map(row, [*families, 0]),
            "",
            f"{len(CHEATS)} cheats of {len(families)} families: {counted()}.",
            "",
            f"{len(INNOCENTS)} innocents, {accused} accused: {innocents}.",
            "",
        ]
    )


def row(family: int) -> str:
    cases = [case for case in CHEATS.values() if case.family == family]
    threads = sorted({word for case in cases for word in case.threads.split()}, key=lambda word: (len(word), word))
    names, outcomes = (BREAK.join(told) for told in ([case.name for case in cases], map(outcome, cases)))
    return f"| {family or '–'} | {names} | {outcomes} | {' '.join(threads)} |"


def counted() -> str:
    """How the cheats end."""
    fails = sum(case.status == "FAIL" and not case.refused for case in CHEATS.values())
    refused = sum(bool(case.refused) for case in CHEATS.values())
    unruled = sum(case.status == "UNRULED" for case in CHEATS.values())
    return (
        f"{fails} are invalid, {refused} refused at once, {unruled} labelled UNRULED, as the contest left them, and "
        f"{len(CHEATS) - fails - refused - unruled} without lineage is never called valid"
    )


def outcome(case: Cheat) -> str:
    """The checks that catch it, and how where that is no FAIL of the verdict."""
    checks = ", ".join(case.caught)
    if case.refused:
        return f"{checks} (refused at once)"
    return checks if case.status == "FAIL" else f"{checks} {case.status}"


def write() -> None:
    """Put the table between its markers in README.md; in tests/: ``PYTHONPATH=.. python -m gallery.table``."""
    README.write_text(MARKED.sub(lambda _: markdown(), README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
