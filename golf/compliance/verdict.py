"""What may be said of a run: each check's finding, the track, and one headline that is never a bare "legal"."""

import dataclasses
import textwrap
from dataclasses import dataclass

from golf.artifacts import io
from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult
from golf.compliance.registry import CHECKS
from golf.compliance.report import LINE_WIDTH, render_results, render_row, replace_unprintable
from golf.errors import ArtifactError

VERDICT_PATH = "artifacts/evaluate/verdict.json"
_RECORD_ELIGIBLE = "record-eligible"
VALID = "valid, not a record run"
INVALID = "invalid"
_INCOMPLETE = "NOT-RUN"
_TRACKS = {False: "A: fixed predictor", True: "B: score-first adaptation"}
PROVENANCE_CHECKS = ("C1-e", "C3-f")
_HEADER_KEYS = ("verdict", "track", "method", "artifact")  # of verdict.json, beside the checks
_ROW_KEYS = ("check", "status", "measured", "limit", "note")
PROBE_CHECKS = ("C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b", "C3-c", "C3-d", "C3-e")
_CONTEST_LIMITS = {"limit_bytes": 16_000_000, "train_limit_seconds": 600.0, "eval_limit_seconds": 600.0}


@dataclass(frozen=True)
class Verdict:
    """headline: one line, with the reason; track: A or B; findings: one for each rule, in the catalogue's order.

    seed: what the probes' places followed from; method, artifact: which class, and the sha256 of what it opened.
    """

    summary: str
    track: str
    check_results: tuple[CheckResult, ...]
    probe_seed: str
    predictor: str
    artifact_sha256: str

    def to_dict(self) -> dict:
        """verdict.json: every finding with its rule's title and link."""
        checks = [
            {
                **dataclasses.asdict(result),
                "rule": CHECKS[result.check].title,
                "link": CHECKS[result.check].docs_link(result.check),
            }
            for result in self.check_results
        ]
        header = {
            "method": self.predictor,
            "artifact": self.artifact_sha256,
            "track": self.track,
            "probe_seed": self.probe_seed,
        }
        return {"verdict": self.summary, **header, "checks": checks}


def make_verdict(
    check_results: list[CheckResult], *, adapts: bool, limits: dict, comparable: bool, **header: str
) -> Verdict:
    """limits: the run's own, by the keys of LIMITS; comparable: its corpus is the challenge's, of known size; about:
    seed, method and artifact of the Verdict. A rule that nobody looked at counts as NOT-RUN.
    """
    by_id = {result.check: result for result in check_results}
    results = tuple(by_id.get(check_id, CheckResult(check_id, NOT_RUN, note="not looked at")) for check_id in CHECKS)
    return Verdict(_summarize(results, limits, comparable), _TRACKS[adapts], results, **header)


def _summarize(results: tuple[CheckResult, ...], limits: dict, comparable: bool) -> str:
    failed = [result for result in results if result.status == FAIL]
    if failed:
        main_failure = next((each for each in failed if each.check == "C3-f"), failed[0])
        return f"{INVALID}: {', '.join(each.check for each in failed)} ({main_failure.check}: {main_failure.note})"
    skipped = [each for each in results if each.check in (*PROBE_CHECKS, *PROVENANCE_CHECKS) and each.status == NOT_RUN]
    if skipped:
        names = ", ".join(each.check for each in skipped)
        return f"{_INCOMPLETE}: nothing that was looked at fails, but {names} were not: {skipped[0].note}"
    reasons = _list_record_blockers(results, limits, comparable)
    disputed = "".join(
        f"; disputed: {CHECKS[each.check].title}, {each.note}" for each in results if each.status == UNRULED
    )
    return (f"{VALID}: {'; '.join(reasons)}" if reasons else _RECORD_ELIGIBLE) + disputed


def _list_record_blockers(results: tuple[CheckResult, ...], limits: dict, comparable: bool) -> list[str]:
    """Why a run with no failure is no record all the same."""
    blockers = [] if comparable else ["the corpus is no FineWeb export with a known byte count"]
    for key, contest_limit in _CONTEST_LIMITS.items():
        if limits[key] != contest_limit:
            run_limit = "none" if limits[key] is None else f"{limits[key]:,.10g}"
            blockers.append(f"{key} {run_limit}, not {contest_limit:,.10g}")
    blockers += [
        f"{result.check} UNRULED"
        for result in results
        if result.status == UNRULED and CHECKS[result.check].required_for_record
    ]
    missing_results = [each for each in results if each.status == NOT_RUN and CHECKS[each.check].required_for_record]
    blockers += [f"{each.check} NOT-RUN: {each.measured}" for each in missing_results if each.check == "B-e"]
    missing_ids = [each.check for each in missing_results if each.check != "B-e"]
    return [*blockers, f"{', '.join(missing_ids)} NOT-RUN"] if missing_ids else blockers


def load_report(path=VERDICT_PATH, *, show_all: bool = False) -> tuple[str, bool]:
    """A run's verdict.json as a screen or as the ``whole`` table, and whether it is anything but valid.

    Raises BadArtifact without one.
    """
    record = io.read_json(path)
    checks = record.get("checks")
    is_well_formed = isinstance(checks, list) and all(_is_check_row(row) for row in checks)
    if not is_well_formed or not all(isinstance(record.get(key), str) for key in _HEADER_KEYS):
        raise ArtifactError(path, "is no verdict", "run: dvc repro -f -s evaluate")
    has_failure = any(row["status"] == FAIL for row in checks)
    return render_verdict(record, show_all=show_all), has_failure or not record["verdict"].startswith(
        (_RECORD_ELIGIBLE, VALID)
    )


def _is_check_row(row) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in (*_ROW_KEYS, "rule", "link"))


def render_verdict(record: dict, *, show_all: bool = True) -> str:
    """The checks of a verdict.json, the headline last; 80 columns. Without the ``whole`` it is a screen, with the
    headline first, and what passes is only named.
    """
    lines = render_row(CheckResult("check", "", "measured", "limit"))
    lines += render_results([CheckResult(*(row[key] for key in _ROW_KEYS)) for row in record["checks"]], show_all)
    statuses = [row["status"] for row in record["checks"]]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in (PASS, FAIL, UNRULED, _INCOMPLETE))
    subject = f"{record['method']} on {record['artifact'][:12]}, track {record['track']}"
    summary_lines = [
        line for text in (subject, record["verdict"]) for line in textwrap.wrap(replace_unprintable(text), LINE_WIDTH)
    ]
    if show_all:
        return "\n".join([*lines, "", counts, *summary_lines])
    footer = "every row: python -m golf check --all; what each proves: docs/legality.md"
    return "\n".join([*summary_lines, "", *lines, "", counts, footer])
