"""Check that README.md tells the run of submission.json and the logs: its table of seeds, and its headline."""

from collections.abc import Iterable

from golf.submission.checks.review import Review, format_seeds
from golf.submission.checks.scores import format_number
from golf.submission.claims import ReportedNumber
from golf.submission.contents import MATCH_TOLERANCE
from golf.submission.findings import CLERICAL, CONTRADICTS, CheckOutcome, Finding
from golf.submission.logs.training_log import TrainingLog
from golf.submission.readme_tables import SeedRow

__all__ = ["check_readme"]

_MAX_LISTED = 3
_MIN_DECIMALS = 3  # of a number that identifies a score
_MIN_LABELED_DECIMALS = 2  # of one that README.md calls bpb
_SIZE_FACTS = ("total_bytes", "unqualified_total_bytes", "model_bytes")


def check_readme(review: Review) -> CheckOutcome:
    """Compare README.md's figures with the logs and with submission.json; what either of them has is not repeated."""
    readme, name = review.submission.readme, review.submission.readme_name
    if not name:
        return CheckOutcome("README", (), "", "no README.md")
    findings = _compare_headline(review)
    table = _choose_table(review)
    if table:
        findings += _compare_table(review, table)
    n_rows = len(table) if table else 0
    measured = f"{n_rows} seeds in its table, {len(readme.labeled)} scores named"
    if not findings and not n_rows and not readme.labeled:
        return CheckOutcome("README", (), measured, f"{name} gives no table of seeds and no val_bpb")
    return CheckOutcome("README", tuple(findings), measured)


def _compare_headline(review: Review) -> list[Finding]:
    """README.md names scores, and none of its numbers is json's: said unless they are the logs', which M-e says."""
    readme, claim = review.submission.readme, review.headline.claim
    if claim is None or not readme.labeled or any(_is_same(score, claim) for score in readme.scores):
        return []
    if any(_is_same(score, claim, _MIN_LABELED_DECIMALS) for score, _ in readme.labeled):
        return []
    logged = [row.score.bpb for row in review.rows if row.score.bpb]
    number, line = readme.labeled[0]
    if not review.headline.is_matched and any(_is_same(score, bpb) for score in readme.scores for bpb in logged):
        return []
    claimed = f"{review.json}'s {review.headline.key} {format_number(claim)}"
    text = f"README.md never gives {claimed}; it names {format_number(number)}"
    return [Finding(CONTRADICTS, text, f"{review.submission.readme_name}:{line}")]


def _is_same(one: ReportedNumber, other: ReportedNumber, min_decimals: int = _MIN_DECIMALS) -> bool:
    return one.n_decimals >= min_decimals and one.matches(other, MATCH_TOLERANCE)


def _choose_table(review: Review) -> tuple[SeedRow, ...]:
    """The table of seeds that agrees with the logs in most figures; other tables may show other runs."""
    tables = [rows for _, rows in review.submission.readme.tables]
    if not tables:
        return ()

    def count_matches(rows: tuple[SeedRow, ...]) -> int:
        return sum(_matches_bpb(review, row.seed, number) for row in rows for number in row.bpbs.values()) + sum(
            _matches_size(review, row.seed, size) for row in rows for size in row.sizes.values()
        )

    best = max(tables, key=count_matches)
    has_seed = any(_list_logs(review, row.seed) or row.seed in review.submission.claims.per_seed for row in best)
    return best if count_matches(best) or (len(tables) == 1 and has_seed) else ()


def _list_logs(review: Review, seed: int) -> list[TrainingLog]:
    return [log for log in review.submission.logs if log.seed == seed]


def _matches_bpb(review: Review, seed: int, number: ReportedNumber) -> bool:
    """Whether any line of the seed's logs, or the seed's claim, gives this score."""
    claim = review.submission.claims.per_seed.get(seed)
    candidates: list[ReportedNumber | None] = [claim.bpb if claim else None]
    for log in _list_logs(review, seed):
        candidates += [score.bpb for score in (*log.scores, *log.superseded, *log.other_scores)]
    return any(number.matches(one, MATCH_TOLERANCE) for one in candidates if one)


def _matches_size(review: Review, seed: int, size: int) -> bool:
    claim = review.submission.claims.per_seed.get(seed)
    sizes = {claim.total_bytes if claim else None}
    for log in _list_logs(review, seed):
        sizes |= {int(log.facts[name]) for name in _SIZE_FACTS if name in log.facts}
    return size in sizes


def _compare_table(review: Review, rows: tuple[SeedRow, ...]) -> list[Finding]:
    known = [row for row in rows if _list_logs(review, row.seed)]
    findings = [*_compare_scores(review, known), *_compare_integers(review, known)]
    with_logs = {log.seed for log in review.submission.logs if log.seed is not None}
    unknown = [row for row in rows if row.seed not in with_logs | set(review.submission.claims.listed_seeds)]
    if unknown and with_logs:
        seeds = format_seeds({row.seed for row in unknown})
        where = f"{review.submission.readme_name}:{unknown[0].line}"
        severity = CONTRADICTS if review.submission.claims.listed_seeds else CLERICAL
        findings.append(Finding(severity, f"README.md's table has seed {seeds}, of which there is no log", where))
    return findings


def _compare_scores(review: Review, rows: list[SeedRow]) -> list[Finding]:
    """Scores that no line of their seed's logs gives; a column without any that is right shows something else."""
    titles = list(dict.fromkeys(title for row in rows for title in row.bpbs))
    right = {
        title: sum(_matches_bpb(review, row.seed, row.bpbs[title]) for row in rows if title in row.bpbs)
        for title in titles
    }
    compared = [title for title in titles if right[title]] or titles[-1:]
    wrong = []
    for row in rows:
        for title in compared:
            if (number := row.bpbs.get(title)) and not _matches_bpb(review, row.seed, number):
                logged = _describe_nearest_score(_list_logs(review, row.seed), number)
                wrong.append((f"seed {row.seed} {format_number(number)}, its log {logged}", row.line))
    return _summarize(review, "scores", wrong)


def _describe_nearest_score(logs: Iterable[TrainingLog], number: ReportedNumber) -> str:
    bpbs = [score.bpb for log in logs for score in log.finite_scores if score.bpb]
    if not bpbs:
        return "none"
    return format_number(min(bpbs, key=lambda bpb: abs(bpb.value - number.value)))


def _compare_integers(review: Review, rows: list[SeedRow]) -> list[Finding]:
    """Bytes and steps that differ from those of the seed's logs."""
    titles = list(dict.fromkeys(title for row in rows for title in row.sizes))
    right = {
        title: sum(_matches_size(review, row.seed, row.sizes[title]) for row in rows if title in row.sizes)
        for title in titles
    }
    compared = [title for title in titles if right[title]] or titles[:1]
    sizes, steps = [], []
    for row in rows:
        logs = _list_logs(review, row.seed)
        totals = [log.total_bytes for log in logs if log.total_bytes]
        logged_steps = {int(log.facts["step"]) for log in logs if "step" in log.facts}
        for title in compared:
            if totals and (size := row.sizes.get(title)) and not _matches_size(review, row.seed, size):
                sizes.append((f"seed {row.seed} {size:,}, its log {totals[-1]:,}", row.line))
        if row.steps and logged_steps and row.steps not in logged_steps:
            steps.append((f"seed {row.seed} {row.steps:,}, its log {max(logged_steps):,}", row.line))
    return [*_summarize(review, "bytes", sizes), *_summarize(review, "steps", steps)]


def _summarize(review: Review, what: str, wrong: list[tuple[str, int]]) -> list[Finding]:
    if not wrong:
        return []
    more = f" and {len(wrong) - _MAX_LISTED} more" if len(wrong) > _MAX_LISTED else ""
    text = f"{what} in README.md's table: {'; '.join(text for text, _ in wrong[:_MAX_LISTED])}{more}"
    return [Finding(CONTRADICTS, text, f"{review.submission.readme_name}:{wrong[0][1]}")]
