"""Checks of the predictor by running it: what the probes and the ablations measured against their tolerances."""

import functools
from collections.abc import Callable

import numpy as np

from golf.compliance.ablations import N_SLICE_CHUNKS, AblationResult
from golf.compliance.check_result import NOT_RUN, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.probes import InPassProbes
from golf.compliance.registry import check
from golf.evaluation.sandbox.session import SandboxSession

__all__ = ["DTYPE_TOL_NATS"]

_EXACT_TOL_NATS = 1e-6  # between two scores of the same shape (C1-a)
DTYPE_TOL_NATS = {"float32": 1e-3, "bfloat16": 0.1}  # between scores of different shapes, by dtype of the products
_BIAS_TOL_NATS = {"float32": 1e-5, "bfloat16": 0.01}  # of mean sealed scores below their rows'
_LOG_SUM_TOL = {"float32": 1e-4, "bfloat16": 1e-3}  # |log of the sum of all probabilities| (C2-a)
_INDEPENDENT = "independent"  # the value of ``documents`` that declares documents independent
_PROBES_OFF_NOTE = "probes are off (evaluate.probe_alternative_tokens: null)"


def _requires_probes(function: Callable[[InPassProbes], Outcome]) -> Callable[[EvaluationContext], Outcome]:
    """Make a check of the probes a check of the evaluation, NOT-RUN where probes are off."""

    @functools.wraps(function)
    def run(context: EvaluationContext) -> Outcome:
        probes = context.run.probes
        return Outcome(NOT_RUN, note=_PROBES_OFF_NOTE) if probes is None else function(probes)

    return run


def _requires_ablations(
    function: Callable[[AblationResult, SandboxSession], Outcome],
) -> Callable[[EvaluationContext], Outcome]:
    """Make a check of the ablations and of the headline's session a check of the evaluation, NOT-RUN without them."""

    @functools.wraps(function)
    def run(context: EvaluationContext) -> Outcome:
        if context.run.ablations is not None:
            return function(context.run.ablations, context.run.session)
        is_too_short = context.run.probes is not None
        note = f"the text has fewer than {N_SLICE_CHUNKS} targets" if is_too_short else _PROBES_OFF_NOTE
        return Outcome(NOT_RUN, note=note)

    return run


@check("C1-a", "future tokens change no score", required=True, essential=True)
@_requires_probes
def _check_future_tokens(probes: InPassProbes) -> Outcome:
    return _check_max(probes, "C1-a", _EXACT_TOL_NATS, "scores change with tokens that come after them")


@check("C1-b", "the target changes no distribution", required=True, essential=True)
@_requires_probes
def _check_target_independence(probes: InPassProbes) -> Outcome:
    return _check_max(probes, "C1-b", _EXACT_TOL_NATS, "a distribution changes with the token that it is to predict")


@check("C1-c", "documents are as independent as declared", required=False)
@_requires_ablations
def _check_document_independence(result: AblationResult, session: SandboxSession) -> Outcome:
    """Where documents are declared independent, another text before one must not change a score in it."""
    if result.document_diff is None:
        return Outcome(NOT_RUN, note="the slice holds one document")
    measured = f"{result.document_diff:.1e} nats"
    if session.info["documents"] != _INDEPENDENT:
        note = "the predictor does not declare documents independent; windows over their ends are merged (#1493)"
        return Outcome(NOT_RUN, measured, "", note)
    limit = _ablation_tolerance(session)
    note = "a document's scores depend on the one before"
    return pass_or_fail(result.document_diff <= limit, measured, f"{limit:g}", note)


@check("C2-a", "probabilities add up to 1", required=True, essential=True)
@_requires_probes
def _check_normalization(probes: InPassProbes) -> Outcome:
    limit = _LOG_SUM_TOL[_dtype(probes.session)]
    return _check_max(probes, "C2-a", limit, "the probabilities of all tokens don't add up to 1", "of log sum")


@check("C2-b", "one probability for each id", required=True, essential=True)
@_requires_probes
def _check_support(probes: InPassProbes) -> Outcome:
    max_log_prob = probes.max_deviation.get("C2-b", np.inf)
    is_full = probes.row_sizes == {probes.vocab_size} and max_log_prob <= _LOG_SUM_TOL[_dtype(probes.session)]
    measured = " or ".join(f"{size:,}" for size in sorted(probes.row_sizes))
    note = "not one probability for each of the ids"
    return pass_or_fail(is_full, f"{measured} ids", f"{probes.vocab_size:,}", note)


@check("C2-c", "scores follow from a row made without target", required=True, essential=True)
@_requires_probes
def _check_predictions(probes: InPassProbes) -> Outcome:
    if not probes.session.info["has_predict"]:
        note = "the class has no predict method"
        return pass_or_fail(False, "no predict", "one", note)
    bias_limit = _BIAS_TOL_NATS[_dtype(probes.session)]
    mean_bias = float(np.mean(probes.score_biases)) if probes.score_biases else 0.0
    if mean_bias < -bias_limit:
        measured, note = f"{-mean_bias:.1e} nats less on average", "scores are better than their distributions"
        return pass_or_fail(False, measured, f"{bias_limit:g}", note)
    return _check_max(
        probes,
        "C2-c",
        DTYPE_TOL_NATS[_dtype(probes.session)],
        "a score differs from the prediction made without its target",
    )


@check("C2-d", "alternatives' scores add up to 1", required=True, essential=True)
@_requires_probes
def _check_alternatives(probes: InPassProbes) -> Outcome:
    note = "scored as targets, the alternatives' probabilities don't add up to 1"
    return _check_max(probes, "C2-d", DTYPE_TOL_NATS[_dtype(probes.session)], note, "off 1")


@check("C3-b", "scoring changes nothing", required=True, essential=True)
@_requires_probes
def _check_purity(probes: InPassProbes) -> Outcome:
    session, limit = probes.session, DTYPE_TOL_NATS[_dtype(probes.session)]
    deviation = probes.max_deviation.get("C3-b", np.inf)
    measured = f"{session.n_state_changes} of {session.n_score_calls} scores changed it; again: {deviation:.1e} nats"
    is_pure = session.n_state_changes == 0 and deviation <= limit
    return pass_or_fail(is_pure, measured, f"0; {limit:g}", "scoring changes the predictor")


@check("C3-c", "an update changes later scores alone", required=True, essential=True)
@_requires_ablations
def _check_update_causality(result: AblationResult, session: SandboxSession) -> Outcome:
    limit = _ablation_tolerance(session)
    measured = f"{result.diff_before:.1e} nats before the update left out, {result.diff_after:.1e} after it"
    note = "an update changes scores that were made before it"
    return pass_or_fail(result.diff_before <= limit, measured, f"{limit:g} before", note)


@check("C3-d", "the first score is made by the artifact as loaded", required=True, essential=True)
@_requires_ablations
def _check_initial_state(result: AblationResult, _session: SandboxSession) -> Outcome:
    measured = f"{result.counted_state_hash[:8]} in the pass that counts, {result.state_hash[:8]} opened anew"
    note = "the first score was not made in the state of the artifact as loaded"
    return pass_or_fail(result.state_hash == result.counted_state_hash, measured, "equal", note)


@check("C3-e", "without updates, scores equal those without adaptation", required=True, essential=True)
@_requires_ablations
def _check_no_updates(result: AblationResult, _session: SandboxSession) -> Outcome:
    measured = f"{result.fixed_diff:.1e} nats between no update and no plan"
    note = "without any update it does not score as the fixed predictor"
    return pass_or_fail(result.fixed_diff <= _EXACT_TOL_NATS, measured, f"{_EXACT_TOL_NATS:g}", note)


def _check_max(probes: InPassProbes, check_id: str, limit: float, note: str, unit: str = "nats") -> Outcome:
    """Compare the largest deviation that the probes recorded for a check; one that was never measured is infinite."""
    deviation = probes.max_deviation.get(check_id, np.inf)
    measured = f"{deviation:.1e} {unit} at {probes.n_positions} places of {len(probes.probed_chunks)} chunks"
    return pass_or_fail(deviation <= limit, measured, f"{limit:g}", note)


def _dtype(session: SandboxSession) -> str:
    return str(session.ctx.dtype).removeprefix("torch.")


def _ablation_tolerance(session: SandboxSession) -> float:
    """Exact on a CPU. On a GPU backward passes add up in any order, so passes with updates differ by rounding."""
    return _EXACT_TOL_NATS if session.ctx.device.type == "cpu" else DTYPE_TOL_NATS[_dtype(session)]
