"""``golf check-submission FOLDER``: the review of one submission as text of at most 100 columns and 40 lines.

It says what needs neither a GPU nor running the submission's code, never that the submission is legal, because the
proof needs the artifact itself.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golf.compliance.report import replace_unprintable
from golf.pipeline.progress import format_count
from golf.submission import contents, record_margin
from golf.submission.checks import registry
from golf.submission.checks.review import Review, open_review
from golf.submission.findings import (
    BREAKS_RULE,
    CHECKS,
    CONTRADICTS,
    SEVERITIES,
    CheckOutcome,
    Finding,
    Severity,
)
from golf.submission.record_margin import RecordMargin, SeedScore

__all__ = [
    "LINE_WIDTH",
    "MAX_LINES",
    "SubmissionReview",
    "render_review",
    "review_folder",
]

LINE_WIDTH, MAX_LINES = 100, 40
_MAX_TEXT_CHARS = 280  # of one finding; names from outside may be long
_MAX_WIDE_TEXT_CHARS = 1_000


@dataclass(frozen=True)
class SubmissionReview:
    """The review of one folder. outcomes: of all checks, in order."""

    review: Review
    outcomes: tuple[CheckOutcome, ...]

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """(check id, finding), the most severe first."""
        findings = [(outcome.check, finding) for outcome in self.outcomes for finding in outcome.findings]
        return sorted(findings, key=lambda item: SEVERITIES.index(item[1].severity))

    @property
    def counts(self) -> dict[Severity, int]:
        """The number of findings of each severity."""
        counts = Counter(finding.severity for _, finding in self.findings)
        return {severity: counts[severity] for severity in SEVERITIES}

    @property
    def worst(self) -> Severity | None:
        """The worst severity; None if nothing was found. An open question is no finding against the submission."""
        return next((severity for severity in SEVERITIES[:3] if self.counts[severity]), None)

    @property
    def has_failed(self) -> bool:
        """Whether a rule is broken or the folder contradicts itself."""
        return self.worst in (BREAKS_RULE, CONTRADICTS)

    @property
    def margin(self) -> RecordMargin | None:
        """The statistics."""
        return self.review.margin


def review_folder(folder: Path, baseline: Sequence[SeedScore] = ()) -> SubmissionReview:
    """Review a folder. Raises InputError for one that is missing, empty or has too many files."""
    submission = contents.load_submission(folder)
    review = open_review(submission, record_margin.compute_margin(submission, baseline))
    return SubmissionReview(review, tuple(registry.run_checks(review)))


def render_review(reviewed: SubmissionReview, *, show_all: bool = False) -> str:
    """Return the review as text: findings by severity, what the rules ask, statistics, and the worst with counts.

    show_all: with the figures of every check, and nothing cut to fit a screen.
    """
    head = _wrap(_describe_folder(reviewed))
    findings, rules = _render_findings(reviewed, show_all), _render_rules(reviewed)
    notes = [note for outcome in reviewed.outcomes for note in outcome.notes]
    note_lines = [line for note in notes for line in _wrap(note if show_all else _cut(note), "note: ")]
    tail = [*_render_states(reviewed, show_all), "", *_render_statistics(reviewed), *_wrap(_summarize(reviewed))]
    if not show_all:
        n_free = MAX_LINES - len(head) - len(tail) - 3  # blank lines between the blocks
        findings = _fit(findings, n_free, "findings")
        rules = rules if len(rules) <= n_free - len(findings) else []
        note_lines = _fit(note_lines, n_free - len(findings) - len(rules), "notes")
    blocks = [head, findings, [*rules, *note_lines], tail]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _fit(lines: list[str], n_free: int, what: str) -> list[str]:
    """At most ``n_free`` lines, the last one saying how many are left out; [] where none is free."""
    if len(lines) <= n_free:
        return lines
    return (
        [*lines[: n_free - 1], f"  ... {len(lines) - n_free + 1:,} more lines of {what}: --all"] if n_free > 0 else []
    )


def _wrap(text: str, initial: str = "", indent: str = "    ") -> list[str]:
    return textwrap.wrap(replace_unprintable(text), LINE_WIDTH, initial_indent=initial, subsequent_indent=indent) or [
        initial
    ]


def _cut(text: str, max_chars: int = _MAX_TEXT_CHARS) -> str:
    return text if len(text) <= max_chars else f"{text[:max_chars]} ... and {len(text) - max_chars:,} more characters"


def _describe_headline(reviewed: SubmissionReview) -> str:
    """Return the claimed score and the logs and pass that gave it, in words."""
    headline = reviewed.review.headline
    if headline.claim is None:
        claim = "no score claimed"
    else:
        claim = f"{headline.key} {headline.claim.value:.{min(headline.claim.n_decimals, 8)}f}"
    if headline.is_matched and not headline.passes_differ:
        places = [row.where for row in headline.rows]
        of_logs = f"mean of {len(places)} logs" if len(places) > 1 else places[0]
        return f"{claim} = {headline.rows[0].score.name}, {of_logs}"
    return claim if headline.claim is None or headline.is_matched else f"{claim}, not the result of a log"


def _describe_folder(reviewed: SubmissionReview) -> str:
    submission = reviewed.review.submission
    track = "record track" if submission.is_record else "non-record track"
    n_logs = len({log.name for log in submission.logs})
    text = f"{submission.folder.root.name}: {track}, {format_count(n_logs, 'log')}; {_describe_headline(reviewed)}"
    return _cut(text)


def _render_findings(reviewed: SubmissionReview, show_all: bool) -> list[str]:
    lines: list[str] = []
    max_chars = _MAX_WIDE_TEXT_CHARS if show_all else _MAX_TEXT_CHARS
    for severity in SEVERITIES:
        findings = [(check, finding) for check, finding in reviewed.findings if finding.severity == severity]
        lines += [severity] if findings else []
        for check, finding in findings:
            where = f" ({_cut(finding.where, 120)})" if finding.where else ""
            lines += _wrap(f"{CHECKS[check].name}: {_cut(finding.text, max_chars)}{where}", "  ")
    return lines


def _render_rules(reviewed: SubmissionReview) -> list[str]:
    """What the rule says and what the author could do, once for each check with a finding."""
    checks = dict.fromkeys(check for check, _ in reviewed.findings)
    lines = ["what the rules say, and what the author could do"] if checks else []
    for check in checks:
        kind = CHECKS[check]
        lines += _wrap(f"{kind.name}: {kind.rule}; {kind.remedy}", "  ")
    return lines


def _render_states(reviewed: SubmissionReview, show_all: bool) -> list[str]:
    """The checks that found nothing and those that could not run; with ``show_all`` the figures of each."""
    if show_all:
        return [
            line
            for one in reviewed.outcomes
            for line in _wrap(
                f"{CHECKS[one.check].name} ({one.check}): {_cut(one.measured) or one.status}"
                + (f"; not checked: {_cut(one.not_checked)}" if one.not_checked else "")
            )
        ]
    quiet = [CHECKS[one.check].name for one in reviewed.outcomes if not one.findings and not one.not_checked]
    unchecked = [f"{CHECKS[one.check].name} ({one.not_checked})" for one in reviewed.outcomes if one.not_checked]
    unchecked.append("the proof of the scores (needs the artifact)")
    lines = _wrap(f"nothing found: {', '.join(quiet)}") if quiet else []
    return lines + (_fit(_wrap(f"not checked: {'; '.join(map(_cut, unchecked))}"), 6, "reasons"))


def _render_statistics(reviewed: SubmissionReview) -> list[str]:
    return [line for text in record_margin.format_margin(reviewed.margin) for line in _wrap(text, "", " " * 16)]


def _summarize(reviewed: SubmissionReview) -> str:
    """Return one line: the worst severity, and how many findings there are of each."""
    counts = [f"{count} {severity}" for severity, count in reviewed.counts.items() if count]
    n_unchecked = sum(bool(outcome.not_checked) for outcome in reviewed.outcomes)
    if not reviewed.worst and n_unchecked:
        counts.append(f"{n_unchecked} not checked")
    return f"worst: {reviewed.worst or 'nothing found'}" + (f" ({', '.join(counts)})" if counts else "")
