"""B-c, B-d, B-e: the seconds that the scripts' own clocks logged, and the hardware. Nobody else held a watch."""

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult
from golf.submission.contents import Submission
from golf.submission.log_parser import TrainingLog

_LIMIT_S = 600.0
_SELF_REPORTED_NOTE = "by the script's own clock"
_RECORD_N_GPUS, _RECORD_GPU_MODEL, _RECORD_GPU_FORM_FACTORS = (
    8,
    "H100",
    ("SXM", "HBM3"),
)  # nvidia-smi calls the SXM form "H100 80GB HBM3"


def check_training_time(submission: Submission) -> CheckResult:
    """B-c: training and calibration together, of the slowest log; serialising apart, as nobody has ruled where it goes.

    Collecting Hessians is training (#634, #677, #1950). The challenge's own baseline stops after the step that crosses
    the limit, so less than one step over is UNRULED.
    """
    timed_logs = [log for log in submission.logs if "train_seconds" in log.facts]
    if not timed_logs:
        return CheckResult("B-c", NOT_RUN, "", _format_limit(submission), "no log states its training time")
    slowest = max(timed_logs, key=_sum_training_seconds)
    train_s, calibration_s = slowest.facts["train_seconds"], slowest.facts.get("hessian_seconds")
    serialize_s = slowest.facts.get("serialise_seconds")
    measured = f"train {train_s:.1f} s + calibration {_format_seconds(calibration_s)}; serialise {_format_seconds(serialize_s)}"
    if not submission.is_record:
        return CheckResult("B-c", PASS, measured, _format_limit(submission))
    if _sum_training_seconds(slowest) <= _LIMIT_S:
        missing_note = "" if calibration_s else "; calibration is not in the log"
        return CheckResult("B-c", PASS, measured, _format_limit(submission), _SELF_REPORTED_NOTE + missing_note)
    overrun_text = f"{slowest.name}: {_sum_training_seconds(slowest) - _LIMIT_S:.1f} s over"
    step_s = train_s / slowest.facts["step"] if slowest.facts.get("step") else 0.0
    if _sum_training_seconds(slowest) - step_s <= _LIMIT_S and not calibration_s:
        note = f"{overrun_text}, less than a step of {step_s:.2f} s: the challenge's own baseline stops so"
        return CheckResult("B-c", UNRULED, measured, _format_limit(submission), note)
    merged_note = "; calibration is training (#677, #1950), though #1787, #1851 and #1855 were merged over the limit"
    return CheckResult(
        "B-c", FAIL, measured, _format_limit(submission), overrun_text + merged_note * bool(calibration_s)
    )


def _sum_training_seconds(log: TrainingLog) -> float:
    return log.facts["train_seconds"] + log.facts.get("hessian_seconds", 0.0)


def check_eval_time(submission: Submission) -> CheckResult:
    """B-d: the pass that gave the result, of the slowest log; over by all timed passes together is UNRULED.

    No two submissions timed the same (#915, #1557). What lies outside the script's timer (decompression, compilation,
    tables made beforehand: #1967) is not in the log.
    """
    rows = [
        (_get_eval_seconds(log), sum(score.seconds or 0.0 for score in log.scores), log.name) for log in submission.logs
    ]
    rows = [row for row in rows if row[0]]
    if not rows:
        return CheckResult("B-d", NOT_RUN, "", _format_limit(submission), "no log states its evaluation's time")
    final_pass_s, all_passes_s, name = max(rows)
    all_passes_s = max(row[1] for row in rows)
    measured = f"result {final_pass_s:.1f} s, all timed passes {max(final_pass_s, all_passes_s):.1f} s"
    if not submission.is_record:
        return CheckResult("B-d", PASS, measured, _format_limit(submission))
    if final_pass_s > _LIMIT_S:
        return CheckResult(
            "B-d", FAIL, measured, _format_limit(submission), f"{name}: {final_pass_s - _LIMIT_S:.1f} s over (#1972)"
        )
    if all_passes_s > _LIMIT_S:
        note = "over only with the passes before it; which of them count is disputed (#915, #1557)"
        return CheckResult("B-d", UNRULED, measured, _format_limit(submission), note)
    return CheckResult("B-d", PASS, measured, _format_limit(submission), _SELF_REPORTED_NOTE)


def _get_eval_seconds(log: TrainingLog) -> float:
    """Seconds of the pass that gave the result, or of the whole where the log sums up; 0 where it says neither."""
    return max(log.facts.get("eval_seconds", 0.0), (log.final_score.seconds or 0.0) if log.final_score else 0.0)


def check_hardware(submission: Submission) -> CheckResult:
    """B-e: the GPUs that the logs name. What only the json claims is no evidence."""
    world_sizes, gpus = (
        set(submission.facts_by_log("world_size").values()),
        {log.gpu for log in submission.logs if log.gpu},
    )
    n_gpus_text = "/".join(f"{world_size:.0f}" for world_size in sorted(world_sizes)) or "?"
    measured = f"{n_gpus_text} x {', '.join(sorted(gpus)) or '?'}"
    limit = f"{_RECORD_N_GPUS} x {_RECORD_GPU_MODEL} SXM" if submission.is_record else "any (non-record)"
    if not submission.is_record:
        return CheckResult("B-e", PASS, measured, limit)
    if world_sizes - {float(_RECORD_N_GPUS)} or any(
        _RECORD_GPU_MODEL not in gpu or not any(form_factor in gpu for form_factor in _RECORD_GPU_FORM_FACTORS)
        for gpu in gpus
    ):
        return CheckResult("B-e", FAIL, measured, limit, "a record needs that hardware; this is a run by proxy")
    if world_sizes and gpus:
        return CheckResult("B-e", PASS, measured, limit)
    claim_note = f"; json: {submission.claims.hardware[:60]}" if submission.claims.hardware else ""
    return CheckResult("B-e", NOT_RUN, measured, limit, f"the logs don't name both ranks and GPU{claim_note}")


def _format_limit(submission: Submission) -> str:
    return f"{_LIMIT_S:.0f} s" if submission.is_record else "none (non-record)"


def _format_seconds(duration_s: float | None) -> str:
    return NOT_RUN if duration_s is None else f"{duration_s:.1f} s"
