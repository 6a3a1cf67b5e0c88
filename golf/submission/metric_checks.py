"""M-a, M-d, M-e: whether loss, bpb and tokens fit the bytes of FineWeb's val, and the json what the logs say."""

import math

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult, pass_or_fail
from golf.submission import statistics
from golf.submission.claims import SubmissionClaims
from golf.submission.contents import MATCH_TOLERANCE, Submission
from golf.submission.log_parser import LoggedScore, TrainingLog
from golf.submission.reported_number import ReportedNumber, mean

# Counted from 42 of the 43 merged record folders whose logs state them (#1698, #1143 and #2071 stood out by this).
_VAL_BYTES_RANGE = (151_070_000, 151_081_000)  # of val's text, whatever the tokenizer; the spread is dropped tails
_VAL_TOKENS_RANGES = {
    "sp1024": (62_021_632, 62_021_632),
    "sp4096": (45_508_608, 45_514_752),
    "sp8192": (40_540_160, 40_540_160),
    "CaseOps sp8192": (47_851_520, 47_853_343),
}
_OLD_VAL_TOKENS, _OLD_VAL_BYTES_RANGE = (
    63_779_840,
    (155_700_000, 155_850_000),
)  # the export before, of the naive baseline (#837)


def _compute_implied_bytes(submission: Submission) -> list[tuple[str, float, float, float]]:
    """By log: its tokens, the bytes that loss / ln 2 * tokens / bpb implies, and what rounding may have added."""
    rows = []
    for log, score in submission.scored_logs():
        if tokens := log.facts.get("val_tokens"):
            n_bytes = score.loss.value / math.log(2) * tokens / score.bpb.value
            slack = score.loss.resolution / score.loss.value + score.bpb.resolution / score.bpb.value
            rows.append((log.name, tokens, n_bytes, n_bytes * slack / 2))
    return rows


def check_implied_bytes(submission: Submission) -> CheckResult:
    """M-a: spaces counted twice, byte pieces counted as three, control symbols counted: all show as other bytes."""
    limit = f"{_VAL_BYTES_RANGE[0] / 1e6:.2f}-{_VAL_BYTES_RANGE[1] / 1e6:.2f} M bytes"
    rows = _compute_implied_bytes(submission)
    if not rows:
        return CheckResult("M-a", NOT_RUN, "", limit, "no log states val_tokens beside a final loss and bpb")
    name, tokens, n_bytes, slack = max(rows, key=lambda row: _distance_outside(row[2], row[3], _VAL_BYTES_RANGE))
    measured = f"{n_bytes:,.0f} bytes (± {slack:,.0f})"
    if tokens == _OLD_VAL_TOKENS and not _distance_outside(n_bytes, slack, _OLD_VAL_BYTES_RANGE):
        return CheckResult("M-a", UNRULED, measured, limit, f"{name}: the older export of val, another text (#837)")
    note = f"{name}: its bpb divides by other bytes than val's text has (as #1698, #1143, #2071)"
    return pass_or_fail("M-a", not _distance_outside(n_bytes, slack, _VAL_BYTES_RANGE), measured, limit, note)


def _distance_outside(n_bytes: float, slack: float, bounds: tuple[int, int]) -> float:
    """By how many bytes it lies outside, slack allowed; 0 inside."""
    return max(0.0, bounds[0] - n_bytes - slack, n_bytes - slack - bounds[1])


def check_coverage(submission: Submission) -> CheckResult:
    """M-d: every log scored all of val, by a known count of tokens or by the bytes that it implies."""
    limit = "all of val"
    n_tokens_by_log = submission.facts_by_log("val_tokens")
    if not n_tokens_by_log:
        return CheckResult("M-d", NOT_RUN, "", limit, "no log states val_tokens")
    complete_logs = {
        name
        for name, _, n_bytes, slack in _compute_implied_bytes(submission)
        if not _distance_outside(n_bytes, slack, _VAL_BYTES_RANGE)
    }
    partial_logs = {
        name: n_tokens
        for name, n_tokens in n_tokens_by_log.items()
        if not _tokenizer_family(n_tokens) and name not in complete_logs
    }
    measured = ", ".join(
        f"{count:,.0f} tokens ({_tokenizer_family(count) or 'unknown tokenizer'})"
        for count in sorted(set(n_tokens_by_log.values()))
    )
    if partial_logs and set(partial_logs.values()) == {float(_OLD_VAL_TOKENS)}:
        return CheckResult("M-d", UNRULED, measured, limit, "the older export of val (#837)")
    note = f"{', '.join(partial_logs)}: neither a known count of tokens nor val's bytes (#1854 scored a fifth of val)"
    return pass_or_fail("M-d", not partial_logs, measured, limit, note)


def _tokenizer_family(n_tokens: float) -> str:
    return next((name for name, (low, high) in _VAL_TOKENS_RANGES.items() if low <= n_tokens <= high), "")


def check_claimed_scores(submission: Submission) -> CheckResult:
    """M-e: the json's scores are the logs': each seed's, and the headline as their mean.

    A claim that equals a score other than the log's last, or one seed's alone, is UNRULED: who chose it, and when?
    """
    claims, final_scores = submission.claims, submission.final_scores()
    if not final_scores or not (claims.bpb or claims.per_seed):
        missing = "a log with a final score" if not final_scores else "a val_bpb in submission.json"
        return CheckResult("M-e", NOT_RUN, "", "equal as printed", f"needs {missing}")
    mismatches, selections = [], []
    for log, score in final_scores:
        claim = claims.per_seed.get(log.seed, SubmissionClaims()).bpb
        if claim and not score.bpb.matches(claim, MATCH_TOLERANCE):
            passes = [
                other_score
                for other_log in submission.logs
                if other_log.seed == log.seed
                for other_score in other_log.finite_scores
            ]
            if matching_names := [each.name for each in passes if each.bpb.matches(claim, MATCH_TOLERANCE)]:
                selections.append(f"seed {log.seed}: json takes {matching_names[0]}, not the log's last score")
            else:
                mismatches.append(
                    f"seed {log.seed}: json {_format_number(claim)}, {log.name} {_format_number(score.bpb)}"
                )
    _check_headline_claims(claims, final_scores, mismatches, selections)
    status = FAIL if mismatches else UNRULED if selections else PASS
    measured = f"json {_format_number(claims.bpb)}, logs {_format_number(_mean_bpb(final_scores))} (mean of {len(final_scores)})"
    return CheckResult("M-e", status, measured, "equal as printed", "; ".join(mismatches + selections))


def _check_headline_claims(
    claims: SubmissionClaims, final_scores: list[tuple[TrainingLog, LoggedScore]], mismatches: list, selections: list
) -> None:
    """Add to ``wrong`` and ``chosen`` what is to be said of the json's mean bpb, mean loss and spread."""
    is_mean_bpb = claims.bpb is not None and claims.bpb.matches(_mean_bpb(final_scores), MATCH_TOLERANCE)
    if claims.bpb and not is_mean_bpb:
        matching_logs = [log.name for log, score in final_scores if score.bpb.matches(claims.bpb, MATCH_TOLERANCE)]
        matching_passes = [
            score.name
            for score in final_scores[0][0].finite_scores
            if _matches_mean(claims.bpb, score.name, final_scores)
        ]
        if matching_passes:
            selections.append(f"json takes {matching_passes[0]}, not the logs' last score")
        elif matching_logs:
            selections.append(f"json gives {matching_logs[0]}'s score alone, not the mean of {len(final_scores)}")
        else:
            mismatches.append(
                f"val_bpb: json {_format_number(claims.bpb)}, mean of {len(final_scores)} logs {_format_number(_mean_bpb(final_scores))}"
            )
    mean_loss = mean([score.loss for _, score in final_scores])
    if is_mean_bpb and claims.loss and not claims.loss.matches(mean_loss, MATCH_TOLERANCE):
        mismatches.append(f"val_loss: json {_format_number(claims.loss)}, logs {_format_number(mean_loss)}")
    stats = statistics.summarize([score.bpb.value for _, score in final_scores])
    if is_mean_bpb and claims.bpb_std and stats.sd is not None:
        population_sd = stats.sd * math.sqrt((stats.n - 1) / stats.n)
        if not any(
            claims.bpb_std.matches(ReportedNumber(sd, MATCH_TOLERANCE), MATCH_TOLERANCE)
            for sd in (stats.sd, population_sd)
        ):
            mismatches.append(f"val_bpb_std: json {_format_number(claims.bpb_std)}, logs {stats.sd:.6f}")


def _matches_mean(claim: ReportedNumber, name: str, final_scores: list[tuple[TrainingLog, LoggedScore]]) -> bool:
    """Whether the claim is the mean over these logs of the pass of this name."""
    rows = [(log, score) for log, _ in final_scores for score in log.finite_scores if score.name == name]
    return len(rows) == len(final_scores) and claim.matches(_mean_bpb(rows), MATCH_TOLERANCE)


def _mean_bpb(rows: list[tuple[TrainingLog, LoggedScore]]) -> ReportedNumber:
    return mean([score.bpb for _, score in rows])


def _format_number(number: ReportedNumber | None) -> str:
    return NOT_RUN if number is None else f"{number.value:.{min(number.n_decimals, 8)}f}"
