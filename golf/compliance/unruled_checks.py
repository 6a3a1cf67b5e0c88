"""Checks of disputed matters: UNRULED with the thread's number, so that readers can decide for themselves."""

from golf.compliance.check_result import NOT_RUN, UNRULED, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.registry import check
from golf.pipeline.progress import format_count

_THREADS = {  # a technique that a predictor may declare, and where it is disputed
    "causal SLOT": "#1336",
    "casefold": "#1604",
    "hashed n-gram cache": "#948",
    "files derived from training text": "#847",
}
_CODE_READING_NOTE = "reading code errs both ways (#918, #1094, #1147)"
_EPOCHS_NOTE = "#549 and #1493 were merged with 3 epochs; asked in #1698, no ruling"


@check("C1-d", "no name derived from a target reaches a gate", required=False)
def _check_target_taint(context: EvaluationContext) -> Outcome:
    return Outcome(NOT_RUN, note=f"{_CODE_READING_NOTE}; C1-a tests it by running")


@check("C2-e", "no blending after the target is gathered", required=False)
def _check_blending(context: EvaluationContext) -> Outcome:
    return Outcome(NOT_RUN, note=f"{_CODE_READING_NOTE}; C1-a and C2-a test it by running")


@check("U-a", "several epochs on scored chunks", required=False)
def _check_epochs(context: EvaluationContext) -> Outcome:
    """Epochs over scored chunks, and those that prequant TTT made over val before it was scored (see C1-e, C3-f)."""
    epochs, prequant_epochs = context.ttt_epochs, context.prequant_val_epochs
    suffix = f", and {prequant_epochs} of prequant on val before" if prequant_epochs else ""
    measured = f"{format_count(epochs, 'epoch')}{suffix}"
    if epochs + prequant_epochs > 1:
        return Outcome(UNRULED, measured, "1", _EPOCHS_NOTE)
    return pass_or_fail(True, measured, "1")


@check("U-b", "techniques that the predictor declares as disputed", required=True)
def _check_declared_techniques(context: EvaluationContext) -> Outcome:
    names = context.run.session.info["disputed"]
    labels = ", ".join(f"{name} ({_THREADS.get(name, 'no thread known')})" for name in names)
    if labels:
        return Outcome(UNRULED, labels, "", f"{labels}: no ruling")
    return pass_or_fail(True, "nothing declared", "")
