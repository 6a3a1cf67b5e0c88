"""What may be said of a run: each check's finding, the track, and one headline that is never a bare "legal"."""

import dataclasses
import textwrap
from dataclasses import dataclass

from golf.ground import store
from golf.ground.errors import BadArtifact
from golf.rules.catalogue import RULES
from golf.rules.finding import FAIL, NOT_RUN, PASS, UNRULED, Finding
from golf.rules.table import WIDTH, clean, rows, screen

FILE = "artifacts/evaluate/verdict.json"
RECORD = "record-eligible"
VALID = "valid, not a record run"
INVALID = "invalid"
OPEN = "NOT-RUN"
TRACKS = {False: "A: fixed predictor", True: "B: score-first adaptation"}
PROVENANCE = ("C1-e", "C3-f")
ABOUT = ("verdict", "track", "method", "artifact")  # of verdict.json, beside the checks
ROW = ("check", "status", "measured", "limit", "note")
PROBES = ("C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b", "C3-c", "C3-d", "C3-e")
LIMITS = {"limit_bytes": 16_000_000, "train_limit_seconds": 600.0, "eval_limit_seconds": 600.0}


@dataclass(frozen=True)
class Verdict:
    """headline: one line, with the reason; track: A or B; findings: one for each rule, in the catalogue's order.

    seed: what the probes' places followed from; method, artifact: which class, and the sha256 of what it opened.
    """

    headline: str
    track: str
    findings: tuple[Finding, ...]
    seed: str
    method: str
    artifact: str

    def tree(self) -> dict:
        """verdict.json: every finding with its rule's title and link."""
        rows = [
            {**dataclasses.asdict(each), "rule": RULES[each.check].title, "link": RULES[each.check].link(each.check)}
            for each in self.findings
        ]
        about = {"method": self.method, "artifact": self.artifact, "track": self.track, "probe_seed": self.seed}
        return {"verdict": self.headline, **about, "checks": rows}


def of(findings: list[Finding], *, adapts: bool, limits: dict, comparable: bool, **about: str) -> Verdict:
    """limits: the run's own, by the keys of LIMITS; comparable: its corpus is the challenge's, of known size; about:
    seed, method and artifact of the Verdict. A rule that nobody looked at counts as NOT-RUN.
    """
    by_name = {each.check: each for each in findings}
    rows = tuple(by_name.get(name, Finding(name, NOT_RUN, note="not looked at")) for name in RULES)
    return Verdict(headline(rows, limits, comparable), TRACKS[adapts], rows, **about)


def headline(rows: tuple[Finding, ...], limits: dict, comparable: bool) -> str:
    failed = [each for each in rows if each.status == FAIL]
    if failed:
        first = next((each for each in failed if each.check == "C3-f"), failed[0])
        return f"{INVALID}: {', '.join(each.check for each in failed)} ({first.check}: {first.note})"
    skipped = [each for each in rows if each.check in (*PROBES, *PROVENANCE) and each.status == NOT_RUN]
    if skipped:
        names = ", ".join(each.check for each in skipped)
        return f"{OPEN}: nothing that was looked at fails, but {names} were not: {skipped[0].note}"
    reasons = shortfalls(rows, limits, comparable)
    disputed = "".join(f"; disputed: {RULES[each.check].title}, {each.note}" for each in rows if each.status == UNRULED)
    return (f"{VALID}: {'; '.join(reasons)}" if reasons else RECORD) + disputed


def shortfalls(rows: tuple[Finding, ...], limits: dict, comparable: bool) -> list[str]:
    """Why a run with no failure is no record all the same."""
    found = [] if comparable else ["the corpus is no FineWeb export with a known byte count"]
    for key, contest in LIMITS.items():
        if limits[key] != contest:
            own = "none" if limits[key] is None else f"{limits[key]:,.10g}"
            found.append(f"{key} {own}, not {contest:,.10g}")
    found += [f"{each.check} UNRULED" for each in rows if each.status == UNRULED and RULES[each.check].needed]
    open_ = [each for each in rows if each.status == NOT_RUN and RULES[each.check].needed]
    found += [f"{each.check} NOT-RUN: {each.measured}" for each in open_ if each.check == "B-e"]
    rest = [each.check for each in open_ if each.check != "B-e"]
    return [*found, f"{', '.join(rest)} NOT-RUN"] if rest else found


def of_run(path=FILE, *, whole: bool = False) -> tuple[str, bool]:
    """A run's verdict.json as a screen or as the ``whole`` table, and whether it is anything but valid.

    Raises BadArtifact without one.
    """
    tree = store.read_json(path)
    rows = tree.get("checks")
    formed = isinstance(rows, list) and all(is_row(row) for row in rows)
    if not formed or not all(isinstance(tree.get(key), str) for key in ABOUT):
        raise BadArtifact(path, "is no verdict", "run: dvc repro -f -s evaluate")
    failed = any(row["status"] == FAIL for row in rows)
    return table(tree, whole=whole), failed or not tree["verdict"].startswith((RECORD, VALID))


def is_row(row) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in (*ROW, "rule", "link"))


def table(tree: dict, *, whole: bool = True) -> str:
    """The checks of a verdict.json, the headline last; 80 columns. Without the ``whole`` it is a screen, with the
    headline first, and what passes is only named.
    """
    lines = rows(Finding("check", "", "measured", "limit"))
    lines += screen([Finding(*(row[key] for key in ROW)) for row in tree["checks"]], whole)
    statuses = [row["status"] for row in tree["checks"]]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in (PASS, FAIL, UNRULED, OPEN))
    judged = f"{tree['method']} on {tree['artifact'][:12]}, track {tree['track']}"
    told = [line for words in (judged, tree["verdict"]) for line in textwrap.wrap(clean(words), WIDTH)]
    if whole:
        return "\n".join([*lines, "", counts, *told])
    every = "every row: python -m golf check --all; what each proves: docs/legality.md"
    return "\n".join([*told, "", *lines, "", counts, every])
