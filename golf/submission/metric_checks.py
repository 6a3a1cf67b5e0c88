"""Checks M-a, M-d, M-e: loss, bpb and tokens fit the bytes of FineWeb's val, and submission.json agrees with the logs.

docs/references.md#submission-audit has the measurements behind the ranges.
"""

import math

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, Outcome, pass_or_fail, with_id
from golf.evaluation import significance
from golf.submission.claims import ReportedNumber, SubmissionClaims, mean
from golf.submission.contents import MATCH_TOLERANCE, Submission
from golf.submission.log_parser import FinalScore, TrainingLog

__all__ = ["check_claimed_scores", "check_coverage", "check_implied_bytes"]

# From 42 of the 43 merged record folders whose logs give them (#1698, #1143 and #2071 are outliers because of this).
_VAL_BYTES_RANGE = (151_070_000, 151_081_000)  # of val's text, for any tokenizer; scripts drop different tails
_VAL_TOKENS_RANGES = {
    "sp1024": (62_021_632, 62_021_632),
    "sp4096": (45_508_608, 45_514_752),
    "sp8192": (40_540_160, 40_540_160),
    "CaseOps sp8192": (47_851_520, 47_853_343),
}
# The earlier export, which the naive baseline was scored on (#837).
_OLD_VAL_TOKENS = 63_779_840
_OLD_VAL_BYTES_RANGE = (155_700_000, 155_850_000)

_ScoredLog = tuple[TrainingLog, FinalScore]


def _compute_implied_bytes(submission: Submission) -> list[tuple[str, float, float, float]]:
    """For each log: name, tokens, the bytes implied by loss / ln 2 · tokens / bpb, and their rounding error."""
    rows = []
    for log, score in submission.scored_logs():
        if tokens := log.facts.get("val_tokens"):
            n_bytes = score.loss.value / math.log(2) * tokens / score.bpb.value
            relative_error = score.loss.resolution / score.loss.value + score.bpb.resolution / score.bpb.value
            rows.append((log.name, tokens, n_bytes, n_bytes * relative_error / 2))
    return rows


@with_id("M-a")
def check_implied_bytes(submission: Submission) -> Outcome:
    """Check that loss, tokens and bpb imply the bytes of val.

    Spaces counted twice, byte tokens counted as three bytes, and counted control symbols show as another number.
    """
    limit = f"{_VAL_BYTES_RANGE[0] / 1e6:.2f}-{_VAL_BYTES_RANGE[1] / 1e6:.2f} M bytes"
    rows = _compute_implied_bytes(submission)
    if not rows:
        return Outcome(NOT_RUN, "", limit, "no log gives val_tokens with a final loss and bpb")
    name, tokens, n_bytes, rounding = max(rows, key=lambda row: _distance_outside(row[2], row[3], _VAL_BYTES_RANGE))
    measured = f"{n_bytes:,.0f} bytes (± {rounding:,.0f})"
    if tokens == _OLD_VAL_TOKENS and not _distance_outside(n_bytes, rounding, _OLD_VAL_BYTES_RANGE):
        return Outcome(UNRULED, measured, limit, f"{name}: an earlier export of val, with other text (#837)")
    note = f"{name}: its bpb is per other bytes than those of val's text (as in #1698, #1143, #2071)"
    return pass_or_fail(not _distance_outside(n_bytes, rounding, _VAL_BYTES_RANGE), measured, limit, note)


def _distance_outside(n_bytes: float, rounding: float, bounds: tuple[int, int]) -> float:
    """The number of bytes outside the bounds, rounding allowed for; 0 inside."""
    return max(0.0, bounds[0] - n_bytes - rounding, n_bytes - rounding - bounds[1])


@with_id("M-d")
def check_coverage(submission: Submission) -> Outcome:
    """Check that every log scored all of val, by a known number of tokens or by the implied bytes."""
    limit = "all of val"
    n_tokens_by_log = submission.facts_by_log("val_tokens")
    if not n_tokens_by_log:
        return Outcome(NOT_RUN, "", limit, "no log gives val_tokens")
    complete_logs = {
        name
        for name, _, n_bytes, rounding in _compute_implied_bytes(submission)
        if not _distance_outside(n_bytes, rounding, _VAL_BYTES_RANGE)
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
        return Outcome(UNRULED, measured, limit, "an earlier export of val (#837)")
    note = f"{', '.join(partial_logs)}: neither a known number of tokens nor val's bytes (#1854 scored a fifth of val)"
    return pass_or_fail(not partial_logs, measured, limit, note)


def _tokenizer_family(n_tokens: float) -> str:
    return next((name for name, (low, high) in _VAL_TOKENS_RANGES.items() if low <= n_tokens <= high), "")


@with_id("M-e")
def check_claimed_scores(submission: Submission) -> Outcome:
    """Check that submission.json's scores are those of the logs, for each seed and for the headline, which is the mean.

    A claim that equals a score other than the log's last one, or the score of a single seed, is UNRULED: it leaves
    open who chose it, and when.
    """
    claims, final_scores = submission.claims, submission.final_scores()
    if not final_scores or not (claims.bpb or claims.per_seed):
        missing = "a log with a final score" if not final_scores else "a val_bpb in submission.json"
        return Outcome(NOT_RUN, "", "equal as printed", f"needs {missing}")
    mismatches: list[str] = []
    selections: list[str] = []
    scores_by_seed: dict[int | None, list[FinalScore]] = {}
    for log in submission.logs:
        scores_by_seed.setdefault(log.seed, []).extend(log.finite_scores)
    for log, score in final_scores:
        claim = submission.claimed_bpb(log.seed)
        if claim is None or score.bpb.matches(claim, MATCH_TOLERANCE):
            continue
        seed_scores = scores_by_seed[log.seed]
        if matching_names := [other.name for other in seed_scores if other.bpb.matches(claim, MATCH_TOLERANCE)]:
            selections.append(f"seed {log.seed}: json takes {matching_names[0]}, not the log's last score")
        else:
            mismatches.append(f"seed {log.seed}: json {_format_number(claim)}, {log.name} {_format_number(score.bpb)}")
    _check_headline_claims(claims, final_scores, mismatches, selections)
    status = FAIL if mismatches else UNRULED if selections else PASS
    logs_text = f"logs {_format_number(_mean_bpb(final_scores))} (mean of {len(final_scores)})"
    measured = f"json {_format_number(claims.bpb)}, {logs_text}"
    return Outcome(status, measured, "equal as printed", "; ".join(mismatches + selections))


def _check_headline_claims(
    claims: SubmissionClaims, final_scores: list[_ScoredLog], mismatches: list[str], selections: list[str]
) -> None:
    """Add to ``mismatches`` and ``selections`` the problems of the claimed mean bpb, mean loss and deviation."""
    mean_bpb = _mean_bpb(final_scores)
    if claims.bpb is None:
        return
    if not claims.bpb.matches(mean_bpb, MATCH_TOLERANCE):
        matching_logs = [log.name for log, score in final_scores if score.bpb.matches(claims.bpb, MATCH_TOLERANCE)]
        matching_passes = _find_matching_passes(claims.bpb, final_scores)
        if matching_passes:
            selections.append(f"json takes {matching_passes[0]}, not the logs' last score")
        elif matching_logs:
            selections.append(f"json gives only the score of {matching_logs[0]}, not the mean of {len(final_scores)}")
        else:
            logs_text = f"mean of {len(final_scores)} logs {_format_number(mean_bpb)}"
            mismatches.append(f"val_bpb: json {_format_number(claims.bpb)}, {logs_text}")
        return
    mean_loss = mean([score.loss for _, score in final_scores])
    if claims.loss and not claims.loss.matches(mean_loss, MATCH_TOLERANCE):
        mismatches.append(f"val_loss: json {_format_number(claims.loss)}, logs {_format_number(mean_loss)}")
    stats = significance.summarize([score.bpb.value for _, score in final_scores])
    if claims.bpb_std and stats.std is not None:
        population_std = stats.std * math.sqrt((stats.n - 1) / stats.n)
        candidates = [ReportedNumber(std, MATCH_TOLERANCE) for std in (stats.std, population_std)]
        if not any(claims.bpb_std.matches(candidate, MATCH_TOLERANCE) for candidate in candidates):
            mismatches.append(f"val_bpb_std: json {_format_number(claims.bpb_std)}, logs {stats.std:.6f}")


def _find_matching_passes(claim: ReportedNumber, final_scores: list[_ScoredLog]) -> list[str]:
    """The names of the passes, in each log once, whose mean over these logs is the claim."""
    rows_by_name: dict[str, list[_ScoredLog]] = {}
    for log, _ in final_scores:
        for score in log.finite_scores:
            rows_by_name.setdefault(score.name, []).append((log, score))
    return [
        name
        for name, rows in rows_by_name.items()
        if len(rows) == len(final_scores) and claim.matches(_mean_bpb(rows), MATCH_TOLERANCE)
    ]


def _mean_bpb(rows: list[_ScoredLog]) -> ReportedNumber:
    return mean([score.bpb for _, score in rows])


def _format_number(number: ReportedNumber | None) -> str:
    return NOT_RUN if number is None else f"{number.value:.{min(number.n_decimals, 8)}f}"
