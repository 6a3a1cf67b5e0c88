"""Checks of seconds (B-c, B-d), hardware (B-e) and the run's figures in submission.json, on the headline's logs.

Seconds are self-reported: they come from the scripts' own timers. docs/references.md#submission-audit has the rulings.
"""

from collections.abc import Iterator

from golf.submission.checks.review import Review
from golf.submission.claims import ReportedNumber, SubmissionClaims
from golf.submission.findings import BREAKS_RULE, CONTRADICTS, NO_RULING, CheckOutcome, Finding
from golf.submission.headline import HeadlineRow
from golf.submission.logs.training_log import TrainingLog

__all__ = ["check_eval_time", "check_hardware", "check_run_figures", "check_training_time"]

_LIMIT_S = 600.0
_QUEUED_STEPS_S = 0.3  # steps that the GPU still works on when the clock is read
_RECORD_N_GPUS, _RECORD_GPU_MODEL = 8, "H100"
_RECORD_GPU_FORM_FACTORS = ("SXM", "HBM3")  # nvidia-smi calls the SXM form "H100 80GB HBM3"
_TIME_TOLERANCE_S, _TIME_TOLERANCE_FRAC = 1.0, 0.01
_MAX_LISTED = 3


def _format_seconds(duration_s: float | None) -> str:
    return "NOT-RUN" if duration_s is None else f"{duration_s:.1f} s"


def _format_overrun(duration_s: float) -> str:
    """Milliseconds below a second, so that no overrun reads as 0.0 s."""
    return f"{duration_s * 1000:,.0f} ms" if duration_s < 0.9995 else f"{duration_s:,.1f} s"


def check_training_time(review: Review) -> CheckOutcome:
    """Check that training of the slowest selected log is within the limit, and whether calibration fits too.

    The challenge's own baseline stops after the step that crosses the limit, and steps may be queued when the clock is
    read, so less than a step or 0.3 s over is an open question. Hessians are training (#634, #677, #1950), but runs
    that took them outside the clock were merged (#1787, #1851, #1855), so that is open too.
    """
    timed = [log for log in review.logs if "train_seconds" in log.facts]
    if not timed:
        return CheckOutcome("B-c", (), "", "no selected log states its training time")
    slowest = max(timed, key=lambda log: log.training_s or 0.0)
    longest = max(timed, key=lambda log: log.facts["train_seconds"])
    calibration_s = slowest.facts.get("hessian_seconds")
    measured = (
        f"train {slowest.facts['train_seconds']:.1f} s + calibration {_format_seconds(calibration_s)}; "
        f"serialize {_format_seconds(slowest.facts.get('serialize_seconds'))}"
    )
    if not review.submission.is_record:
        return CheckOutcome("B-c", (), f"{measured}; no limit (non-record)")
    train_s = longest.facts["train_seconds"]
    over_s = round(train_s - _LIMIT_S, 6)
    step_s = train_s / longest.facts["step"] if longest.facts.get("step") else 0.0
    where = longest.locate("train_seconds")
    if over_s > max(step_s, _QUEUED_STEPS_S):
        text = f"training takes {train_s:,.1f} s, {_format_overrun(over_s)} over the limit of 600 s"
        return CheckOutcome("B-c", (Finding(BREAKS_RULE, text, where),), measured)
    if over_s > 0:
        step = f"a step of {step_s * 1000:,.0f} ms" if over_s <= step_s else "0.3 s of queued steps"
        text = f"training ends {_format_overrun(over_s)} after 600 s, less than {step}"
        return CheckOutcome("B-c", (Finding(NO_RULING, text, where),), measured)
    total_s = slowest.training_s or 0.0
    if calibration_s and round(total_s - _LIMIT_S, 6) > 0:
        text = f"with calibration, {calibration_s:.1f} s outside the clock, training takes {total_s:,.1f} s"
        return CheckOutcome("B-c", (Finding(NO_RULING, text, slowest.locate("hessian_seconds")),), measured)
    return CheckOutcome("B-c", (), measured)


def check_eval_time(review: Review) -> CheckOutcome:
    """Check that the pass that gave the result is within the limit in the slowest selected log.

    If only the sum of all timed passes is over it, that is open: no two submissions time the same work (#915, #1557).
    The log leaves out work outside the script's timer, e.g. decompression and compilation (#1967).
    """
    timed = [(seconds, row) for row in review.rows if (seconds := _get_eval_s(row))]
    if not timed:
        return CheckOutcome("B-d", (), "", "no selected log states its evaluation time")
    final_s, slowest = max(timed, key=lambda item: item[0])
    every_s = max(final_s, *(sum(score.seconds or 0.0 for score in row.log.scores) for row in review.rows))
    measured = f"result {final_s:.1f} s, all timed passes {every_s:.1f} s"
    if not review.submission.is_record:
        return CheckOutcome("B-d", (), f"{measured}; no limit (non-record)")
    if final_s > _LIMIT_S:
        over = _format_overrun(final_s - _LIMIT_S)
        text = f"{slowest.score.name} takes {final_s:,.1f} s, {over} over the limit of 600 s"
        return CheckOutcome("B-d", (Finding(BREAKS_RULE, text, slowest.where),), measured)
    if every_s > _LIMIT_S:
        text = f"all timed passes take {every_s:,.1f} s, the result's {final_s:,.1f} s; which of them count is open"
        return CheckOutcome("B-d", (Finding(NO_RULING, text, slowest.where),), measured)
    return CheckOutcome("B-d", (), measured)


def _get_eval_s(row: HeadlineRow) -> float:
    """Seconds of the pass that gave the result, or of the whole evaluation if the log sums it up; 0 for neither."""
    return max(row.log.facts.get("eval_seconds", 0.0), row.score.seconds or 0.0)


def check_hardware(review: Review) -> CheckOutcome:
    """Check that the selected logs name the hardware of a record run. A claim in json alone is no evidence."""
    world_sizes, gpus = set(review.facts("world_size").values()), {log.gpu for log in review.logs if log.gpu}
    n_gpus = "/".join(f"{world_size:.0f}" for world_size in sorted(world_sizes)) or "?"
    measured = f"{n_gpus} x {', '.join(sorted(gpus)) or '?'}"
    if not review.submission.is_record:
        return CheckOutcome("B-e", (), f"{measured} (non-record: any)")
    if world_sizes - {float(_RECORD_N_GPUS)} or not all(_is_record_gpu(gpu) for gpu in gpus):
        log = next(
            log
            for log in review.logs
            if log.facts.get("world_size", _RECORD_N_GPUS) != _RECORD_N_GPUS
            or (log.gpu and not _is_record_gpu(log.gpu))
        )
        text = f"ran on {measured}; a record runs on 8 x H100 SXM"
        return CheckOutcome("B-e", (Finding(BREAKS_RULE, text, log.locate("world_size")),), measured)
    if world_sizes and gpus:
        return CheckOutcome("B-e", (), measured)
    hardware = review.submission.claims.hardware[:40]
    claim = f"; json says {hardware}" if hardware else ""
    return CheckOutcome("B-e", (), measured, f"the logs don't name both ranks and GPU{claim}")


def _is_record_gpu(gpu: str) -> bool:
    return _RECORD_GPU_MODEL in gpu and any(form_factor in gpu for form_factor in _RECORD_GPU_FORM_FACTORS)


def check_run_figures(review: Review) -> CheckOutcome:
    """Compare json's steps, seconds and parameters, of the run and of each seed, with the selected logs."""
    claims = review.submission.claims
    pairs: list[tuple[str, SubmissionClaims, list[TrainingLog]]] = [("", claims, list(review.logs))]
    pairs += [
        (f"seed {seed}: ", claim, [log for log in review.submission.logs if log.seed == seed])
        for seed, claim in claims.per_seed.items()
    ]
    comparisons = [result for label, claim, logs in pairs for result in _compare_figures(label, claim, logs)]
    if not comparisons:
        return CheckOutcome(
            "run figures", (), "", f"{review.json} gives no steps, seconds or parameters that logs have"
        )
    wrong = [text for text in comparisons if text]
    more = f" and {len(wrong) - _MAX_LISTED} more" if len(wrong) > _MAX_LISTED else ""
    findings = (Finding(CONTRADICTS, "; ".join(wrong[:_MAX_LISTED]) + more, review.json),) if wrong else ()
    return CheckOutcome("run figures", findings, f"{len(comparisons)} compared, {len(wrong)} differ")


def _compare_figures(label: str, claims: SubmissionClaims, logs: list[TrainingLog]) -> Iterator[str]:
    """A text for each figure that differs, "" for each that agrees. A mean over the logs agrees as well."""
    steps = [log.facts["step"] for log in logs if "step" in log.facts]
    if claims.steps and steps:
        agrees = _is_one_of(claims.steps, steps, 0.5)
        yield "" if agrees else f"{label}steps: json {claims.steps.value:,.0f}, log {_list_figures(steps)}"
    params = [log.facts["model_params"] for log in logs if "model_params" in log.facts]
    if claims.params and params:
        agrees = _is_one_of(claims.params, params, 0.0)
        yield "" if agrees else f"{label}model_params: json {claims.params.value:,.0f}, log {_list_figures(params)}"
    trained = [log.facts["train_seconds"] for log in logs if "train_seconds" in log.facts]
    if claims.train_s and trained:
        totals = [*trained, *(log.training_s for log in logs if log.training_s), _LIMIT_S]
        totals += [log.facts.get("train_seconds", 0.0) + sum(one.seconds or 0.0 for one in log.scores) for log in logs]
        agrees = _is_one_of(claims.train_s, trained, _time_tolerance(trained)) or any(
            abs(claims.train_s.value - total) <= _time_tolerance([total]) for total in totals
        )
        yield (
            "" if agrees else f"{label}train time: json {claims.train_s.value:,.1f} s, log {_list_figures(trained)} s"
        )
    evaluated = [score.seconds for log in logs for score in log.scores if score.seconds]
    if claims.eval_s and evaluated:
        sums = [sum(score.seconds or 0.0 for score in log.scores) for log in logs]
        totals = [*evaluated, *sums, *(log.facts["eval_seconds"] for log in logs if "eval_seconds" in log.facts)]
        agrees = _is_one_of(claims.eval_s, totals, 0.0) or any(
            abs(claims.eval_s.value - total) <= _time_tolerance([total]) for total in totals
        )
        finals = [log.scores[-1].seconds or 0.0 for log in logs if log.scores]
        yield ("" if agrees else f"{label}eval time: json {claims.eval_s.value:,.1f} s, log {_list_figures(finals)} s")


def _is_one_of(claim: ReportedNumber, figures: list[float], tolerance: float) -> bool:
    """Whether the claim, with its rounding, is one of the figures or their mean."""
    slack = max(claim.resolution if claim.resolution != 1.0 else 0.0, tolerance) * (1 + 1e-6)
    mean_slack = max(slack, 1.0)
    return any(abs(claim.value - figure) <= slack for figure in figures) or (
        len(set(figures)) > 1 and abs(claim.value - sum(figures) / len(figures)) <= mean_slack
    )


def _time_tolerance(seconds: list[float]) -> float:
    return max(_TIME_TOLERANCE_S, _TIME_TOLERANCE_FRAC * max(seconds))


def _list_figures(figures: list[float]) -> str:
    unique = sorted(set(figures))
    texts = [f"{figure:,.0f}" if figure == int(figure) else f"{figure:,.1f}" for figure in unique]
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"
