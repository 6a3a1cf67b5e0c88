"""Checks that the proof answers: scores follow from the prefix alone, and their distributions are distributions."""

import functools
from collections.abc import Callable

from golf.compliance.check_result import NOT_RUN, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.proof import FORGED_FRAC, TOLERANCES, Proof
from golf.compliance.registry import check
from golf.pipeline.progress import format_count

__all__ = ["PROOF_OFF_NOTE"]

PROOF_OFF_NOTE = "the proof is off (evaluate.proof_places: null)"


def _requires_proof(
    function: Callable[[Proof, EvaluationContext], Outcome],
) -> Callable[[EvaluationContext], Outcome]:
    """Make a check of the proof a check of the evaluation, NOT-RUN without a proof, FAIL without ``predict``."""

    @functools.wraps(function)
    def run(context: EvaluationContext) -> Outcome:
        if context.run.proof is not None:
            return function(context.run.proof, context)
        if context.cfg.proof_places is None:
            return Outcome(NOT_RUN, note=PROOF_OFF_NOTE)
        return pass_or_fail(False, "no predict", "one", "the class has no predict method")

    return run


@check("C1-a", "each score follows from the tokens before it", required=True, essential=True)
@_requires_proof
def _check_scores(proof: Proof, context: EvaluationContext) -> Outcome:
    """At places of every chunk, the sealed score equals the prediction of a predictor that was given the prefix alone.

    So neither the target, nor later tokens, nor an earlier pass, nor a state that scoring changed made the score.
    """
    comparison, limit = proof.comparison, TOLERANCES[context.cfg.dtype].place_nats
    measured = (
        f"{comparison.max_diff:.1e} nats at {format_count(comparison.n_places, 'place')} of all "
        f"{format_count(proof.n_chunks, 'chunk')}; "
        f"{FORGED_FRAC:.0%} forged would show with {comparison.probability_of_detection(FORGED_FRAC):.1%}"
    )
    note = "a second predictor that is given only the tokens before a place does not give it the sealed score"
    return pass_or_fail(comparison.max_diff <= limit, measured, f"{limit:g}", note)


@check("C2-a", "probabilities add up to 1", required=True, essential=True)
@_requires_proof
def _check_normalization(proof: Proof, context: EvaluationContext) -> Outcome:
    limit = TOLERANCES[context.cfg.dtype].log_sum
    measured = f"{proof.max_log_sum:.1e} of log sum at {format_count(proof.comparison.n_places, 'place')}"
    note = "the probabilities of all tokens don't add up to 1"
    return pass_or_fail(proof.max_log_sum <= limit, measured, f"{limit:g}", note)


@check("C2-b", "one probability for each id", required=True, essential=True)
@_requires_proof
def _check_support(proof: Proof, context: EvaluationContext) -> Outcome:
    vocab_size = context.val_data.val.vocab_size
    is_full = proof.has_full_support(TOLERANCES[context.cfg.dtype], vocab_size)
    measured = f"{' or '.join(f'{size:,}' for size in proof.row_sizes)} ids"
    return pass_or_fail(is_full, measured, f"{vocab_size:,}", "not one probability for each of the ids")


@check("C2-c", "scores are no better than their distributions", required=True, essential=True)
@_requires_proof
def _check_discount(proof: Proof, context: EvaluationContext) -> Outcome:
    """The mean of sealed minus predicted scores: rounding errors average out, a discount does not."""
    comparison, tolerance = proof.comparison, TOLERANCES[context.cfg.dtype].mean_nats
    detectable = comparison.smallest_detectable_discount(tolerance)
    measured = f"{-comparison.mean_diff:+.1e} nats on average; a discount of {detectable:.1e} would show"
    note = "sealed scores are better than the distributions that a second predictor gives"
    return pass_or_fail(not comparison.has_discount(tolerance), measured, f"{tolerance:g}", note)
