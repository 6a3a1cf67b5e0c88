"""By how much a submission's scores beat another's, in both units and by both thresholds."""

from dataclasses import dataclass

from golf.rules.finding import NOT_RUN, PASS, UNRULED, Finding, judged
from golf.submission.evidence import Evidence, seed_scores
from golf.submission.statistics import APPLIED_P, LN2, NATS, WRITTEN_P, Sample, Welch, sample, welch

TRAP = (
    "Units: 0.005 nats a byte, the strict reading, is 0.00721 bpb; 0.005 nats a token is only 0.002 to 0.003 bpb, and "
    "compares nothing across tokenizers."
)


@dataclass(frozen=True)
class Margin:
    """ours, theirs: bpb. logged: whether ours are from logs or only claimed. byte: the test on nats a byte.

    token: on nats a token, None across tokenizers. Tests are None without two scores a side and some spread.
    """

    ours: Sample
    logged: bool
    theirs: Sample | None = None
    byte: Welch | None = None
    token: Welch | None = None


def margin(evidence: Evidence, baseline=None) -> Margin | None:
    """None without a score of our own. Raises what evidence.seed_scores does for the baseline."""
    logged = [(score.bpb, score.loss) for _, score in evidence.finals()]
    ours = logged or [(one.bpb, one.loss) for one in evidence.claims.seeds.values() or [evidence.claims] if one.bpb]
    if not ours:
        return None
    here = sample([bpb.value for bpb, _ in ours])
    if baseline is None:
        return Margin(here, bool(logged))
    theirs = seed_scores(baseline)
    there = sample([bpb.value for bpb, _ in theirs])
    return Margin(here, bool(logged), there, welch(nats(ours), nats(theirs)), tokens(ours, theirs))


def nats(scores) -> Sample:
    """Nats a byte."""
    return sample([bpb.value * LN2 for bpb, _ in scores])


def tokens(ours, theirs) -> Welch | None:
    """The test on losses; None where one lacks them or both don't have the same bytes a token."""
    if not all(loss for _, loss in ours + theirs):
        return None
    ratios = [loss.value / bpb.value for bpb, loss in ours + theirs]
    if max(ratios) > min(ratios) * 1.001:
        return None
    return welch(sample([loss.value for _, loss in ours]), sample([loss.value for _, loss in theirs]))


def finding(evidence: Evidence, found: Margin | None) -> Finding:
    """PASS by the written rule per byte, UNRULED by an easier reading of it alone, else FAIL: no record by this."""
    wanted = f"{NATS} nats, p < {WRITTEN_P:g}"
    if not evidence.record:
        return Finding("record margin", NOT_RUN, "", wanted, "not asked of a non-record submission")
    if found is None or found.theirs is None:
        return Finding("record margin", NOT_RUN, "", wanted, "name the row that it should beat as the baseline")
    if not found.logged:
        return Finding("record margin", NOT_RUN, "", wanted, "no log bears out the scores that the json claims")
    if found.byte is None:
        note = f"Welch's test needs two scores on each side that differ; here {found.ours.n} and {found.theirs.n}"
        return Finding("record margin", NOT_RUN, "", wanted, note)
    measured = f"{found.byte.gain:.5f} nats a byte at p = {found.byte.p:.2g}"
    if found.byte.gain >= NATS and found.byte.p < WRITTEN_P:
        return Finding("record margin", PASS, measured, wanted)
    if found.token and found.token.gain >= NATS and found.token.p < WRITTEN_P:
        note = f"only per token, {found.token.gain:.5f} nats (#1514, #1755; per byte: #1727, #1738)"
        return Finding("record margin", UNRULED, measured, wanted, note)
    if found.byte.p < APPLIED_P:
        note = f"only by the applied rule, p < {APPLIED_P} over the row before (#1902)"
        return Finding("record margin", UNRULED, measured, wanted, note)
    return judged("record margin", False, measured, wanted, f"not even at p < {APPLIED_P} (#1902)")


def lines(found: Margin | None) -> list[str]:
    """The statistics as text."""
    if found is None:
        return ["statistics: no score"]
    told = [f"{'this submission' if found.logged else 'claimed, no log':<18}{described(found.ours)}"]
    if found.theirs is None:
        return told
    told += [f"the baseline      {described(found.theirs)}"]
    told += [f"{unit:<18}{tested(test)}" for unit, test in (("nats a byte", found.byte), ("nats a token", found.token))]
    rules = [verdict("written", NATS, WRITTEN_P, found), verdict("applied (#1902)", 0.0, APPLIED_P, found)]
    return [*told, *rules, TRAP]


def described(one: Sample) -> str:
    spread = "no spread from one seed" if one.sd is None else f"sd {one.sd:.6f} (n - 1)"
    return f"mean {one.mean:.6f} bpb, {spread}, {one.n} seed{'s' * (one.n > 1)}"


def tested(test: Welch | None) -> str:
    if test is None:
        return f"{NOT_RUN}: too few seeds, no spread, no losses, or another tokenizer"
    return f"lower by {test.gain:.5f}, t = {test.t:.2f}, df = {test.df:.2f}, p = {test.p:.3g}"


def verdict(rule: str, gain: float, p: float, found: Margin) -> str:
    tests = {"per byte": found.byte, "per token": found.token}
    met = {unit: NOT_RUN if test is None else said(test.gain >= gain and test.p < p) for unit, test in tests.items()}
    asked = f"{gain:g} nats at p < {p:g}" if gain else f"lower at p < {p:g}"
    return f"{rule + ':':<18}{asked}: " + ", ".join(f"{answer} {unit}" for unit, answer in met.items())


def said(holds: bool) -> str:
    return "met" if holds else "not met"
