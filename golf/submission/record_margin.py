"""By how much a submission's scores beat another's, in both units and by both thresholds."""

from dataclasses import dataclass

from golf.compliance.check_result import NOT_RUN, PASS, UNRULED, CheckResult, pass_or_fail
from golf.submission.contents import Submission, load_seed_scores
from golf.submission.statistics import (
    APPLIED_RULE_P,
    LN2,
    MIN_GAIN_NATS,
    WRITTEN_RULE_P,
    SampleStats,
    WelchTest,
    summarize,
    welch_test,
)

_UNITS_NOTE = (
    "Units: 0.005 nats a byte, the strict reading, is 0.00721 bpb; 0.005 nats a token is only 0.002 to 0.003 bpb, and "
    "compares nothing across tokenizers."
)


@dataclass(frozen=True)
class RecordMargin:
    """ours, theirs: bpb. logged: whether ours are from logs or only claimed. byte: the test on nats a byte.

    token: on nats a token, None across tokenizers. Tests are None without two scores a side and some spread.
    """

    ours: SampleStats
    is_logged: bool
    baseline: SampleStats | None = None
    per_byte: WelchTest | None = None
    per_token: WelchTest | None = None


def compute_margin(submission: Submission, baseline=None) -> RecordMargin | None:
    """None without a score of our own. Raises what evidence.seed_scores does for the baseline."""
    logged_scores = [(score.bpb, score.loss) for _, score in submission.final_scores()]
    our_scores = logged_scores or [
        (claim.bpb, claim.loss) for claim in submission.claims.per_seed.values() or [submission.claims] if claim.bpb
    ]
    if not our_scores:
        return None
    our_stats = summarize([bpb.value for bpb, _ in our_scores])
    if baseline is None:
        return RecordMargin(our_stats, bool(logged_scores))
    baseline_scores = load_seed_scores(baseline)
    baseline_stats = summarize([bpb.value for bpb, _ in baseline_scores])
    return RecordMargin(
        our_stats,
        bool(logged_scores),
        baseline_stats,
        welch_test(_summarize_nats_per_byte(our_scores), _summarize_nats_per_byte(baseline_scores)),
        _test_nats_per_token(our_scores, baseline_scores),
    )


def _summarize_nats_per_byte(scores) -> SampleStats:
    """Nats a byte."""
    return summarize([bpb.value * LN2 for bpb, _ in scores])


def _test_nats_per_token(ours, baseline) -> WelchTest | None:
    """The test on losses; None where one lacks them or both don't have the same bytes a token."""
    if not all(loss for _, loss in ours + baseline):
        return None
    ratios = [loss.value / bpb.value for bpb, loss in ours + baseline]
    if max(ratios) > min(ratios) * 1.001:
        return None
    return welch_test(summarize([loss.value for _, loss in ours]), summarize([loss.value for _, loss in baseline]))


def check_margin(submission: Submission, margin_result: RecordMargin | None) -> CheckResult:
    """PASS by the written rule per byte, UNRULED by an easier reading of it alone, else FAIL: no record by this."""
    limit = f"{MIN_GAIN_NATS} nats, p < {WRITTEN_RULE_P:g}"
    if not submission.is_record:
        return CheckResult("record margin", NOT_RUN, "", limit, "not asked of a non-record submission")
    if margin_result is None or margin_result.baseline is None:
        return CheckResult("record margin", NOT_RUN, "", limit, "name the row that it should beat as the baseline")
    if not margin_result.is_logged:
        return CheckResult("record margin", NOT_RUN, "", limit, "no log bears out the scores that the json claims")
    if margin_result.per_byte is None:
        note = f"Welch's test needs two scores on each side that differ; here {margin_result.ours.n} and {margin_result.baseline.n}"
        return CheckResult("record margin", NOT_RUN, "", limit, note)
    measured = f"{margin_result.per_byte.gain:.5f} nats a byte at p = {margin_result.per_byte.p:.2g}"
    if margin_result.per_byte.gain >= MIN_GAIN_NATS and margin_result.per_byte.p < WRITTEN_RULE_P:
        return CheckResult("record margin", PASS, measured, limit)
    if (
        margin_result.per_token
        and margin_result.per_token.gain >= MIN_GAIN_NATS
        and margin_result.per_token.p < WRITTEN_RULE_P
    ):
        note = f"only per token, {margin_result.per_token.gain:.5f} nats (#1514, #1755; per byte: #1727, #1738)"
        return CheckResult("record margin", UNRULED, measured, limit, note)
    if margin_result.per_byte.p < APPLIED_RULE_P:
        note = f"only by the applied rule, p < {APPLIED_RULE_P} over the row before (#1902)"
        return CheckResult("record margin", UNRULED, measured, limit, note)
    return pass_or_fail("record margin", False, measured, limit, f"not even at p < {APPLIED_RULE_P} (#1902)")


def format_margin(margin_result: RecordMargin | None) -> list[str]:
    """The statistics as text."""
    if margin_result is None:
        return ["statistics: no score"]
    rows = [
        f"{'this submission' if margin_result.is_logged else 'claimed, no log':<18}{_format_stats(margin_result.ours)}"
    ]
    if margin_result.baseline is None:
        return rows
    rows += [f"the baseline      {_format_stats(margin_result.baseline)}"]
    rows += [
        f"{unit:<18}{_format_test(test)}"
        for unit, test in (("nats a byte", margin_result.per_byte), ("nats a token", margin_result.per_token))
    ]
    rule_rows = [
        _format_rule("written", MIN_GAIN_NATS, WRITTEN_RULE_P, margin_result),
        _format_rule("applied (#1902)", 0.0, APPLIED_RULE_P, margin_result),
    ]
    return [*rows, *rule_rows, _UNITS_NOTE]


def _format_stats(stats: SampleStats) -> str:
    sd_text = "no spread from one seed" if stats.sd is None else f"sd {stats.sd:.6f} (n - 1)"
    return f"mean {stats.mean:.6f} bpb, {sd_text}, {stats.n} seed{'s' * (stats.n > 1)}"


def _format_test(test: WelchTest | None) -> str:
    if test is None:
        return f"{NOT_RUN}: too few seeds, no spread, no losses, or another tokenizer"
    return f"lower by {test.gain:.5f}, t = {test.t:.2f}, df = {test.df:.2f}, p = {test.p:.3g}"


def _format_rule(rule: str, min_gain: float, max_p: float, margin_result: RecordMargin) -> str:
    tests = {"per byte": margin_result.per_byte, "per token": margin_result.per_token}
    status_by_unit = {
        unit: NOT_RUN if test is None else _format_met(test.gain >= min_gain and test.p < max_p)
        for unit, test in tests.items()
    }
    threshold_text = f"{min_gain:g} nats at p < {max_p:g}" if min_gain else f"lower at p < {max_p:g}"
    return f"{rule + ':':<18}{threshold_text}: " + ", ".join(
        f"{status} {unit}" for unit, status in status_by_unit.items()
    )


def _format_met(is_met: bool) -> str:
    return "met" if is_met else "not met"
