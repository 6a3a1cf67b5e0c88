"""B-c, B-d, B-e: the seconds that the scripts' own clocks logged, and the hardware. Nobody else held a watch."""

from golf.rules.finding import FAIL, NOT_RUN, PASS, UNRULED, Finding
from golf.submission.evidence import Evidence
from golf.submission.logs import Log

LIMIT_S = 600.0
OWN_CLOCK = "by the script's own clock"
GPUS, KIND, FORM = 8, "H100", ("SXM", "HBM3")  # nvidia-smi calls the SXM form "H100 80GB HBM3"


def training(evidence: Evidence) -> Finding:
    """B-c: training and calibration together, of the slowest log; serialising apart, as nobody has ruled where it goes.

    Collecting Hessians is training (#634, #677, #1950). The challenge's own baseline stops after the step that crosses
    the limit, so less than one step over is UNRULED.
    """
    timed = [log for log in evidence.logs if "train_seconds" in log.facts]
    if not timed:
        return Finding("B-c", NOT_RUN, "", limit(evidence), "no log states its training time")
    slowest = max(timed, key=trained)
    train, calibration = slowest.facts["train_seconds"], slowest.facts.get("hessian_seconds")
    serialise = slowest.facts.get("serialise_seconds")
    measured = f"train {train:.1f} s + calibration {seconds(calibration)}; serialise {seconds(serialise)}"
    if not evidence.record:
        return Finding("B-c", PASS, measured, limit(evidence))
    if trained(slowest) <= LIMIT_S:
        lacking = "" if calibration else "; calibration is not in the log"
        return Finding("B-c", PASS, measured, limit(evidence), OWN_CLOCK + lacking)
    over = f"{slowest.name}: {trained(slowest) - LIMIT_S:.1f} s over"
    step = train / slowest.facts["step"] if slowest.facts.get("step") else 0.0
    if trained(slowest) - step <= LIMIT_S and not calibration:
        note = f"{over}, less than a step of {step:.2f} s: the challenge's own baseline stops so"
        return Finding("B-c", UNRULED, measured, limit(evidence), note)
    merged = "; calibration is training (#677, #1950), though #1787, #1851 and #1855 were merged over the limit"
    return Finding("B-c", FAIL, measured, limit(evidence), over + merged * bool(calibration))


def trained(log: Log) -> float:
    return log.facts["train_seconds"] + log.facts.get("hessian_seconds", 0.0)


def evaluation(evidence: Evidence) -> Finding:
    """B-d: the pass that gave the result, of the slowest log; over by all timed passes together is UNRULED.

    No two submissions timed the same (#915, #1557). What lies outside the script's timer (decompression, compilation,
    tables made beforehand: #1967) is not in the log.
    """
    timed = [(scored(log), sum(score.seconds or 0.0 for score in log.scores), log.name) for log in evidence.logs]
    timed = [row for row in timed if row[0]]
    if not timed:
        return Finding("B-d", NOT_RUN, "", limit(evidence), "no log states its evaluation's time")
    headline, together, name = max(timed)
    together = max(row[1] for row in timed)
    measured = f"result {headline:.1f} s, all timed passes {max(headline, together):.1f} s"
    if not evidence.record:
        return Finding("B-d", PASS, measured, limit(evidence))
    if headline > LIMIT_S:
        return Finding("B-d", FAIL, measured, limit(evidence), f"{name}: {headline - LIMIT_S:.1f} s over (#1972)")
    if together > LIMIT_S:
        note = "over only with the passes before it; which of them count is disputed (#915, #1557)"
        return Finding("B-d", UNRULED, measured, limit(evidence), note)
    return Finding("B-d", PASS, measured, limit(evidence), OWN_CLOCK)


def scored(log: Log) -> float:
    """Seconds of the pass that gave the result, or of the whole where the log sums up; 0 where it says neither."""
    return max(log.facts.get("eval_seconds", 0.0), (log.result.seconds or 0.0) if log.result else 0.0)


def hardware(evidence: Evidence) -> Finding:
    """B-e: the GPUs that the logs name. What only the json claims is no evidence."""
    worlds, gpus = set(evidence.facts("world_size").values()), {log.gpu for log in evidence.logs if log.gpu}
    count = "/".join(f"{world:.0f}" for world in sorted(worlds)) or "?"
    measured = f"{count} x {', '.join(sorted(gpus)) or '?'}"
    wanted = f"{GPUS} x {KIND} SXM" if evidence.record else "any (non-record)"
    if not evidence.record:
        return Finding("B-e", PASS, measured, wanted)
    if worlds - {float(GPUS)} or any(KIND not in gpu or not any(form in gpu for form in FORM) for gpu in gpus):
        return Finding("B-e", FAIL, measured, wanted, "a record needs that hardware; this is a run by proxy")
    if worlds and gpus:
        return Finding("B-e", PASS, measured, wanted)
    told = f"; json: {evidence.claims.hardware[:60]}" if evidence.claims.hardware else ""
    return Finding("B-e", NOT_RUN, measured, wanted, f"the logs don't name both ranks and GPU{told}")


def limit(evidence: Evidence) -> str:
    return f"{LIMIT_S:.0f} s" if evidence.record else "none (non-record)"


def seconds(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.1f} s"
