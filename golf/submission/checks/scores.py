"""Check M-e: submission.json's scores are those of the logs, for each seed and for the headline."""

import math

from golf.evaluation import significance
from golf.submission.checks.review import Review, format_seeds
from golf.submission.claims import ReportedNumber, mean
from golf.submission.contents import MATCH_TOLERANCE
from golf.submission.findings import CLERICAL, CONTRADICTS, NO_RULING, CheckOutcome, Finding, list_names
from golf.submission.headline import HeadlineRow
from golf.submission.logs.training_log import LoggedScore

__all__ = ["check_claimed_scores", "format_number"]

_CLERICAL_STD_FRAC = 0.1  # by which a spread may differ before it tells another story
_CLERICAL_STD = 5e-5
_MAX_LISTED_SEEDS = 3
_OTHER_ROWS = {
    "earlier": "an earlier run's or print's score, which a later one replaces",
    "step": "the score of a training step ({name}), not of the compressed model",
    "diagnostic": "a diagnostic's score ({name}), not of the compressed model",
    "mention": "a number on a line that ends no evaluation",
    "loss": "the loss in nats per token of {name}, not its bpb",
}


def check_claimed_scores(review: Review) -> CheckOutcome:
    """Compare json's scores with the logs' (#86, #2118, #2124): the headline, the seeds, the loss and the spread."""
    headline, claims = review.headline, review.submission.claims
    if headline.claim is None:
        is_read = bool(review.submission.json_name) and not review.submission.json_error
        missing = (Finding(CLERICAL, f"{review.json} claims no score"),) if is_read and review.rows else ()
        reason = "" if missing else "no score is claimed" if review.submission.json_name else "no submission.json"
        return CheckOutcome("M-e", missing, _describe_rows(review), reason)
    findings = [*_compare_headline(review), *_compare_seeds(review)]
    if headline.is_matched and not headline.passes_differ:
        findings += [*_compare_loss(review), *_compare_spread(review)]
    measured = f"json {format_number(headline.claim)}, {_describe_rows(review)}"
    if not review.rows and headline.kind == "absent":
        findings += _compare_own_mean(review)
        return CheckOutcome("M-e", tuple(findings), measured, "" if findings else "no log has a final score")
    if claims.bpb is None and headline.key == "val_loss":
        text = f"{review.json} has no val_bpb; its val_loss {format_number(headline.claim)} is read as the bpb"
        findings.insert(0, Finding(CLERICAL, text))
    return CheckOutcome("M-e", tuple(findings), measured)


def _describe_rows(review: Review) -> str:
    if not review.rows:
        return "logs NOT-RUN"
    bpbs = [row.score.bpb for row in review.rows if row.score.bpb]
    of_pass = f"{review.rows[0].score.name} " if not review.headline.passes_differ else ""
    count = f"mean of {len(bpbs)}" if len(bpbs) > 1 else review.rows[0].log.label
    return f"logs {of_pass}{format_number(mean(bpbs))} ({count})"


def _compare_headline(review: Review) -> list[Finding]:
    headline, rows = review.headline, review.rows
    claim = f"{review.json}'s {headline.key} {format_number(headline.claim)}"
    if headline.kind == "mixed":
        passes = list_names([f"{row.score.name} in {row.log.label}" for row in rows])
        return [Finding(CONTRADICTS, f"{claim} is a mean over different passes: {passes}", rows[-1].where)]
    if headline.kind in ("mean", "single"):
        return _check_choice(review)
    given = f"; the logs give {_describe_rows(review).removeprefix('logs ')}" if rows else ""
    if headline.matched_row:
        matched = _OTHER_ROWS[headline.kind].format(name=headline.matched_row.score.name)
        return [Finding(CONTRADICTS, f"{claim} is {matched}{given}", headline.matched_row.where)]
    if not rows:
        return []  # the check of the logs says that none has it
    if _rests_on_missing_logs(review):
        text = f"{claim} is the mean of json's seeds, of which not all have a log{given}"
        return [Finding(CLERICAL, text, rows[-1].where)]
    return [Finding(CONTRADICTS, f"{claim} is in no log{given}", rows[-1].where)]


def _rests_on_missing_logs(review: Review) -> bool:
    """Whether the headline is the mean of the seeds' claims, and there are seeds without a log."""
    claims = review.submission.claims
    bpbs = [claim.bpb for claim in claims.per_seed.values() if claim.bpb]
    has_missing = bool(set(claims.per_seed) - {log.seed for log in review.submission.logs})
    return has_missing and bool(claims.bpb and bpbs and claims.bpb.matches(mean(bpbs), MATCH_TOLERANCE))


def _check_choice(review: Review) -> list[Finding]:
    """Open questions if another pass or another log would have given a worse score: who chose it, and when, is open."""
    headline, rows = review.headline, review.rows
    taken = mean([row.score.bpb for row in rows if row.score.bpb])
    last_names = {row.log.finite_scores[-1].name for row in rows}
    findings = []
    if len(last_names) == 1 and (last_name := next(iter(last_names))) not in (
        rows[0].score.name,
        *rows[0].score.aliases,
    ):
        last = mean([score.bpb for row in rows if (score := row.log.finite_scores[-1]).bpb])
        if last.value > taken.value + MATCH_TOLERANCE:
            text = f"json takes {rows[0].score.name}; {last_name}, which follows it, is worse: {format_number(last)}"
            findings.append(Finding(NO_RULING, text, rows[0].where))
    if headline.kind == "single":
        others = [
            other.bpb
            for log in review.other_logs
            if log.settings == rows[0].log.settings
            and log.seed != rows[0].log.seed
            and (other := _find_pass(log.finite_scores, rows[0].score.name))
            and other.bpb
        ]
        if others and (every := mean([*others, taken])).value > taken.value + MATCH_TOLERANCE:
            text = (
                f"json gives {rows[0].log.label} alone; the mean of {len(others) + 1} seeds is {format_number(every)}"
            )
            findings.append(Finding(NO_RULING, text, rows[0].where))
    return findings


def _find_pass(scores: list[LoggedScore], name: str) -> LoggedScore | None:
    return next((score for score in reversed(scores) if name in (score.name, *score.aliases)), None)


def _compare_seeds(review: Review) -> list[Finding]:
    """Compare the seeds' claims with their logs; one finding for all seeds of one kind."""
    claims = review.submission.claims
    wrong: list[tuple[str, HeadlineRow]] = []
    other_passes: list[tuple[str, HeadlineRow]] = []
    for seed, claim in claims.per_seed.items():
        logs = [log for log in review.submission.logs if log.seed == seed and log.finite_scores]
        if claim.bpb is None or not logs:
            continue
        bpb = claim.bpb
        row = next((row for row in review.rows if row.log.seed == seed), None) or HeadlineRow(
            logs[-1], logs[-1].finite_scores[-1]
        )
        if row.score.bpb and bpb.matches(row.score.bpb, MATCH_TOLERANCE):
            continue
        matching = [
            HeadlineRow(log, score)
            for log in logs
            for score in log.finite_scores
            if score.bpb and bpb.matches(score.bpb, MATCH_TOLERANCE)
        ]
        if matching:
            other_passes.append((f"seed {seed} of {matching[-1].score.name}", matching[-1]))
        else:
            wrong.append((f"seed {seed}: json {format_number(bpb)}, log {format_number(row.score.bpb)}", row))
    findings = []
    if wrong:
        more = f" and {len(wrong) - _MAX_LISTED_SEEDS} more seeds" if len(wrong) > _MAX_LISTED_SEEDS else ""
        text = "; ".join(text for text, _ in wrong[:_MAX_LISTED_SEEDS]) + more
        findings.append(Finding(CONTRADICTS, text, wrong[0][1].where))
    if other_passes:
        text = f"json's score for {list_names([text for text, _ in other_passes])}"
        usual = f", the headline's pass is {review.rows[0].score.name}" if review.rows else ""
        severity = NO_RULING if len(other_passes) == len(claims.per_seed) else CONTRADICTS
        findings.append(Finding(severity, f"{text}{usual}", other_passes[0][1].where))
    return findings


def _compare_own_mean(review: Review) -> list[Finding]:
    """Without logs: whether the headline is the mean of the json's own seeds."""
    claims = review.submission.claims
    bpbs = [claim.bpb for claim in claims.per_seed.values() if claim.bpb]
    if not claims.bpb or not bpbs or claims.bpb.matches(mean(bpbs), MATCH_TOLERANCE):
        return []
    text = f"{review.json}'s val_bpb {format_number(claims.bpb)} is not the mean of its seeds"
    return [Finding(CONTRADICTS, f"{text} {format_seeds(set(claims.per_seed))}: {format_number(mean(bpbs))}")]


def _compare_loss(review: Review) -> list[Finding]:
    claim = review.submission.claims.loss
    losses = [row.score.loss for row in review.rows if row.score.loss]
    if claim is None or not losses or review.headline.key == "val_loss":
        return []
    if any(claim.matches(loss, MATCH_TOLERANCE) for loss in (mean(losses), *losses)):
        return []
    text = f"val_loss: json {format_number(claim)}, logs {format_number(mean(losses))}"
    return [Finding(CONTRADICTS, text, review.rows[-1].where)]


def _compare_spread(review: Review) -> list[Finding]:
    """Compare val_bpb_std with the sample's and the population's deviation; a last digit is clerical."""
    claim = review.submission.claims.bpb_std
    stats = significance.summarize([row.score.bpb.value for row in review.rows if row.score.bpb])
    if claim is None or stats.std is None:
        return []
    population_std = stats.std * math.sqrt((stats.n - 1) / stats.n)
    if any(claim.matches(ReportedNumber(std, MATCH_TOLERANCE), MATCH_TOLERANCE) for std in (stats.std, population_std)):
        return []
    difference = min(abs(claim.value - std) for std in (stats.std, population_std))
    is_clerical = difference <= max(_CLERICAL_STD, _CLERICAL_STD_FRAC * stats.std)
    text = f"val_bpb_std: json {format_number(claim)}, logs {stats.std:.6f} (n - 1)"
    return [Finding(CLERICAL if is_clerical else CONTRADICTS, text)]


def format_number(number: ReportedNumber | None) -> str:
    """Return the number with its own digits, at most eight."""
    return "NOT-RUN" if number is None else f"{number.value:.{min(number.n_decimals, 8)}f}"
