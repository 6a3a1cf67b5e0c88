"""Checks that the ablations answer: updates, the first state and documents act as the predictor says."""

import functools
from collections.abc import Callable

from golf.compliance.ablations import N_SLICE_CHUNKS, AblationResult
from golf.compliance.check_result import NOT_RUN, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.proof import TOLERANCES
from golf.compliance.proof_checks import PROOF_OFF_NOTE
from golf.compliance.registry import check

_EXACT_TOL_NATS = 1e-6  # between two scores of the same shape
_INDEPENDENT = "independent"  # the value of ``documents`` that declares documents independent


def _requires_ablations(
    function: Callable[[AblationResult, EvaluationContext], Outcome],
) -> Callable[[EvaluationContext], Outcome]:
    """Make a check of the ablations a check of the evaluation, NOT-RUN without them."""

    @functools.wraps(function)
    def run(context: EvaluationContext) -> Outcome:
        if context.run.ablations is not None:
            return function(context.run.ablations, context)
        is_off = context.cfg.proof_places is None
        note = PROOF_OFF_NOTE if is_off else f"the text has fewer than {N_SLICE_CHUNKS} targets"
        return Outcome(NOT_RUN, note=note)

    return run


@check("C1-c", "documents are as independent as declared", required=False)
@_requires_ablations
def _check_document_independence(result: AblationResult, context: EvaluationContext) -> Outcome:
    """Where documents are declared independent, another text before one must not change a score in it."""
    if result.document_diff is None:
        return Outcome(NOT_RUN, note="the slice holds one document")
    measured = f"{result.document_diff:.1e} nats"
    if context.run.session.info["documents"] != _INDEPENDENT:
        note = "the predictor does not declare documents independent; windows over their ends are merged (#1493)"
        return Outcome(NOT_RUN, measured, "", note)
    limit = _get_tolerance(context)
    note = "a document's scores depend on the one before"
    return pass_or_fail(result.document_diff <= limit, measured, f"{limit:g}", note)


@check("C3-c", "an update changes later scores alone", required=True, essential=True)
@_requires_ablations
def _check_update_causality(result: AblationResult, context: EvaluationContext) -> Outcome:
    limit = _get_tolerance(context)
    measured = f"{result.diff_before:.1e} nats before the update left out, {result.diff_after:.1e} after it"
    note = "an update changes scores that were made before it"
    return pass_or_fail(result.diff_before <= limit, measured, f"{limit:g} before", note)


@check("C3-d", "the first score is made by the artifact as loaded", required=True, essential=True)
@_requires_ablations
def _check_initial_state(result: AblationResult, _context: EvaluationContext) -> Outcome:
    measured = f"{result.counted_state_hash[:8]} in the pass that counts, {result.state_hash[:8]} opened anew"
    note = "the first score was not made in the state of the artifact as loaded"
    return pass_or_fail(result.state_hash == result.counted_state_hash, measured, "equal", note)


@check("C3-e", "without updates, scores equal those without adaptation", required=True, essential=True)
@_requires_ablations
def _check_no_updates(result: AblationResult, _context: EvaluationContext) -> Outcome:
    measured = f"{result.fixed_diff:.1e} nats between no update and no plan"
    note = "without any update it does not score as the fixed predictor"
    return pass_or_fail(result.fixed_diff <= _EXACT_TOL_NATS, measured, f"{_EXACT_TOL_NATS:g}", note)


def _get_tolerance(context: EvaluationContext) -> float:
    """Exact on a CPU. On a GPU backward passes add up in any order, so passes with updates differ by rounding."""
    return _EXACT_TOL_NATS if context.run.session.ctx.device.type == "cpu" else TOLERANCES[context.cfg.dtype].place_nats
