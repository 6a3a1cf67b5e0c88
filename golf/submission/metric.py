"""M-a, M-d, M-e: whether loss, bpb and tokens fit the bytes of FineWeb's val, and the json what the logs say."""

import math

from golf.rules.finding import FAIL, NOT_RUN, PASS, UNRULED, Finding, judged
from golf.submission import statistics
from golf.submission.claims import Claims
from golf.submission.evidence import EXACT, Evidence
from golf.submission.figure import Figure, mean
from golf.submission.logs import Log, Score

# Counted from 42 of the 43 merged record folders whose logs state them (#1698, #1143 and #2071 stood out by this).
BYTES = (151_070_000, 151_081_000)  # of val's text, whatever the tokenizer; the spread is dropped tails
TOKENS = {
    "sp1024": (62_021_632, 62_021_632),
    "sp4096": (45_508_608, 45_514_752),
    "sp8192": (40_540_160, 40_540_160),
    "CaseOps sp8192": (47_851_520, 47_853_343),
}
OLD_TOKENS, OLD_BYTES = 63_779_840, (155_700_000, 155_850_000)  # the export before, of the naive baseline (#837)


def implied(evidence: Evidence) -> list[tuple[str, float, float, float]]:
    """By log: its tokens, the bytes that loss / ln 2 * tokens / bpb implies, and what rounding may have added."""
    rows = []
    for log, score in evidence.results():
        if tokens := log.facts.get("val_tokens"):
            found = score.loss.value / math.log(2) * tokens / score.bpb.value
            slack = score.loss.unit / score.loss.value + score.bpb.unit / score.bpb.value
            rows.append((log.name, tokens, found, found * slack / 2))
    return rows


def implied_bytes(evidence: Evidence) -> Finding:
    """M-a: spaces counted twice, byte pieces counted as three, control symbols counted: all show as other bytes."""
    wanted = f"{BYTES[0] / 1e6:.2f}-{BYTES[1] / 1e6:.2f} M bytes"
    rows = implied(evidence)
    if not rows:
        return Finding("M-a", NOT_RUN, "", wanted, "no log states val_tokens beside a final loss and bpb")
    name, tokens, found, slack = max(rows, key=lambda row: apart(row[2], row[3], BYTES))
    measured = f"{found:,.0f} bytes (± {slack:,.0f})"
    if tokens == OLD_TOKENS and not apart(found, slack, OLD_BYTES):
        return Finding("M-a", UNRULED, measured, wanted, f"{name}: the older export of val, another text (#837)")
    note = f"{name}: its bpb divides by other bytes than val's text has (as #1698, #1143, #2071)"
    return judged("M-a", not apart(found, slack, BYTES), measured, wanted, note)


def apart(found: float, slack: float, between: tuple[int, int]) -> float:
    """By how many bytes it lies outside, slack allowed; 0 inside."""
    return max(0.0, between[0] - found - slack, found - slack - between[1])


def coverage(evidence: Evidence) -> Finding:
    """M-d: every log scored all of val, by a known count of tokens or by the bytes that it implies."""
    wanted = "all of val"
    counts = evidence.facts("val_tokens")
    if not counts:
        return Finding("M-d", NOT_RUN, "", wanted, "no log states val_tokens")
    whole = {name for name, _, found, slack in implied(evidence) if not apart(found, slack, BYTES)}
    part = {name: count for name, count in counts.items() if not family(count) and name not in whole}
    measured = ", ".join(
        f"{count:,.0f} tokens ({family(count) or 'unknown tokenizer'})" for count in sorted(set(counts.values()))
    )
    if part and set(part.values()) == {float(OLD_TOKENS)}:
        return Finding("M-d", UNRULED, measured, wanted, "the older export of val (#837)")
    note = f"{', '.join(part)}: neither a known count of tokens nor val's bytes (#1854 scored a fifth of val)"
    return judged("M-d", not part, measured, wanted, note)


def family(count: float) -> str:
    return next((name for name, (low, high) in TOKENS.items() if low <= count <= high), "")


def claimed(evidence: Evidence) -> Finding:
    """M-e: the json's scores are the logs': each seed's, and the headline as their mean.

    A claim that equals a score other than the log's last, or one seed's alone, is UNRULED: who chose it, and when?
    """
    claims, used = evidence.claims, evidence.finals()
    if not used or not (claims.bpb or claims.seeds):
        lacking = "a log with a final score" if not used else "a val_bpb in submission.json"
        return Finding("M-e", NOT_RUN, "", "equal as printed", f"needs {lacking}")
    wrong, chosen = [], []
    for log, score in used:
        claim = claims.seeds.get(log.seed, Claims()).bpb
        if claim and not score.bpb.agrees(claim, EXACT):
            passes = [each for one in evidence.logs if one.seed == log.seed for each in one.passes]
            if taken := [each.name for each in passes if each.bpb.agrees(claim, EXACT)]:
                chosen.append(f"seed {log.seed}: json takes {taken[0]}, not the log's last score")
            else:
                wrong.append(f"seed {log.seed}: json {shown(claim)}, {log.name} {shown(score.bpb)}")
    headline(claims, used, wrong, chosen)
    status = FAIL if wrong else UNRULED if chosen else PASS
    measured = f"json {shown(claims.bpb)}, logs {shown(average(used))} (mean of {len(used)})"
    return Finding("M-e", status, measured, "equal as printed", "; ".join(wrong + chosen))


def headline(claims: Claims, used: list[tuple[Log, Score]], wrong: list, chosen: list) -> None:
    """Add to ``wrong`` and ``chosen`` what is to be said of the json's mean bpb, mean loss and spread."""
    same = claims.bpb is not None and claims.bpb.agrees(average(used), EXACT)
    if claims.bpb and not same:
        alone = [log.name for log, score in used if score.bpb.agrees(claims.bpb, EXACT)]
        passes = [score.name for score in used[0][0].passes if agreed(claims.bpb, score.name, used)]
        if passes:
            chosen.append(f"json takes {passes[0]}, not the logs' last score")
        elif alone:
            chosen.append(f"json gives {alone[0]}'s score alone, not the mean of {len(used)}")
        else:
            wrong.append(f"val_bpb: json {shown(claims.bpb)}, mean of {len(used)} logs {shown(average(used))}")
    losses = mean([score.loss for _, score in used])
    if same and claims.loss and not claims.loss.agrees(losses, EXACT):
        wrong.append(f"val_loss: json {shown(claims.loss)}, logs {shown(losses)}")
    found = statistics.sample([score.bpb.value for _, score in used])
    if same and claims.spread and found.sd is not None:
        over_n = found.sd * math.sqrt((found.n - 1) / found.n)
        if not any(claims.spread.agrees(Figure(sd, EXACT), EXACT) for sd in (found.sd, over_n)):
            wrong.append(f"val_bpb_std: json {shown(claims.spread)}, logs {found.sd:.6f}")


def agreed(claim: Figure, name: str, used: list[tuple[Log, Score]]) -> bool:
    """Whether the claim is the mean over these logs of the pass of this name."""
    rows = [(log, score) for log, _ in used for score in log.passes if score.name == name]
    return len(rows) == len(used) and claim.agrees(average(rows), EXACT)


def average(rows: list[tuple[Log, Score]]) -> Figure:
    return mean([score.bpb for _, score in rows])


def shown(read: Figure | None) -> str:
    return NOT_RUN if read is None else f"{read.value:.{min(read.places, 8)}f}"
