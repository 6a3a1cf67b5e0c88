"""Run the passes of an evaluation: the headline mode, the other modes, the proof, then the ablations.

Each runs in a session of its own with a newly opened predictor. The headline comes first, so that its time includes
every compilation and nothing has seen the stream before it.
"""

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from golf.compliance import ablations, proof
from golf.compliance.ablations import AblationResult
from golf.compliance.proof import Proof
from golf.compliance.provenance import ArtifactProvenance
from golf.config.sections import EvaluateConfig
from golf.data.eval_stream import EvalStream
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import BudgetExceededError, DivergenceError, GolfError, PredictorError
from golf.evaluation import scoring_loop
from golf.evaluation.chunks import get_chunk_tokens
from golf.evaluation.ledger import LedgerData
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.sandbox.channel import INTERFACE_HINT, SandboxTimeoutError
from golf.evaluation.sandbox.host import Sandbox
from golf.evaluation.sandbox.session import SandboxSession, SessionRecord
from golf.evaluation.scoring_loop import MODES, ModeResult
from golf.evaluation.timer import EvalTimer
from golf.pipeline.progress import Progress

__all__ = [
    "OWN_PREDICTOR",
    "EvaluationRun",
    "make_nonfinite_error",
    "run_evaluation",
    "run_proof",
]

OWN_PREDICTOR = "golf.inference.predictor:GolfPredictor"  # the one whose hint is ttt.lr


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """The passes of an evaluation.

    results: by mode, the headline first. session: of the headline. proof, ablations: None when the proof is off
    (also, for the proof, when the predictor has no ``predict``, and for ablations, when the stream is too short).
    access_reports: what each session's process accessed, and under "fence" what restricted it. probe_s: of
    the ablations. probe_seed: hex, the secret from which their slice and the places of the proof follow.
    """

    results: dict[str, ModeResult]
    session: SessionRecord
    proof: Proof | None
    ablations: AblationResult | None
    access_reports: list[dict[str, Any]]
    probe_s: float
    probe_seed: str


def run_evaluation(
    sandbox: Sandbox,
    provenance: ArtifactProvenance,
    stream: EvalStream,
    cfg: EvaluateConfig,
    context_length: int,
) -> EvaluationRun:
    """Score ``stream`` in every mode. The sandbox's timer gives the headline's limit, which ends with its last score.

    Raises BudgetExceededError at the limit, PredictorError when the predictor fails or breaks its contract.
    """
    probe_seed = _draw_probe_seed()
    rng = np.random.default_rng(list(bytes.fromhex(probe_seed)))

    def score_mode(session: SandboxSession, mode: str, timer: EvalTimer | None = None) -> ModeResult:
        try:
            return scoring_loop.evaluate_mode(
                session,
                stream,
                mode,
                ttt_cfg=provenance.ttt_cfg,
                memory_cfg=provenance.memory_cfg,
                stride=cfg.stride,
                context_length=context_length,
                chunk_tokens=get_chunk_tokens(mode, cfg.headline, provenance.ttt_cfg.chunk_tokens),
                order=cfg.order,
                timer=timer,
                disclaimer=provenance.disclaimer(mode),
                stage="evaluate",
                quiet=not session.ctx.is_main,
            )
        except DivergenceError as error:
            raise make_nonfinite_error(cfg.predictor, error) from None

    with _explain_timeout(cfg), sandbox.session() as session:
        results: dict[str, ModeResult] = {cfg.headline: score_mode(session, cfg.headline, sandbox.timer)}
    headline_session = SessionRecord.from_session(session)
    access_reports = [headline_session.access_report]
    for mode in MODES:
        if mode != cfg.headline:
            with sandbox.session() as session:
                results[mode] = score_mode(session, mode)
            access_reports.append(session.access_report)
    proof_result = ablation_result = None
    settings = results[cfg.headline].settings
    if cfg.proof_places is not None and headline_session.info["has_predict"]:
        sealed = results[cfg.headline].ledger.to_data()
        seed = proof.derive_seed(probe_seed, sealed)
        proof_result, proof_session = run_proof(
            sandbox, stream.tokens, sealed, settings, places_per_chunk=cfg.proof_places, seed=seed
        )
        access_reports.append(proof_session.access_report)
    probe_start = time.perf_counter()
    if cfg.proof_places is not None:
        with sandbox.session() as session:
            probe_slice = ablations.ProbeSlice.sample(stream.tokens, stream.bos, context_length, rng)
            ablation_result = ablations.run_ablations(
                session, probe_slice, settings, headline_session.initial_state_hash
            )
        access_reports.append(session.access_report)
    probe_s = time.perf_counter() - probe_start
    return EvaluationRun(
        results=results,
        session=headline_session,
        proof=proof_result,
        ablations=ablation_result,
        access_reports=access_reports,
        probe_s=probe_s,
        probe_seed=probe_seed,
    )


def run_proof(
    sandbox: Sandbox,
    tokens: np.ndarray,
    sealed: LedgerData,
    settings: PassSettings,
    *,
    places_per_chunk: int | None,
    seed: str,
    on_prediction: Callable[[np.ndarray, int], None] | None = None,
) -> tuple[Proof, SessionRecord]:
    """Prove a ledger in a session of its own; return the proof and the session's record.

    The arguments are those of ``proof.prove``.
    """
    start = time.perf_counter()
    with sandbox.session() as session:
        open_s = time.perf_counter() - start
        progress = Progress("evaluate", len(sealed.nll), "targets", quiet=not session.ctx.is_main)
        result = proof.prove(
            session,
            tokens,
            sealed,
            settings,
            places_per_chunk=places_per_chunk,
            seed=seed,
            progress=progress,
            on_prediction=on_prediction,
        )
    return dataclasses.replace(result, predict_s=result.predict_s + open_s), SessionRecord.from_session(session)


@contextlib.contextmanager
def _explain_timeout(cfg: EvaluateConfig) -> Iterator[None]:
    """Turn a sandbox timeout into BudgetExceededError.

    A partial pass has no score, because it covers only part of val.
    """
    try:
        yield
    except SandboxTimeoutError as timeout:
        raise BudgetExceededError(
            f"evaluate.limit_s: the limit of {cfg.limit_s:g} s from the start of the command was reached during "
            f"{timeout}, before the last score of the {cfg.headline} pass, so there is no score; use a faster machine "
            f"or more evaluate.ranks, or set null for no limit"
        ) from None


def make_nonfinite_error(predictor: str, error: DivergenceError) -> GolfError:
    """Return the error for a pass with a score that is not finite.

    The ledger's hint, ttt.lr, fits golf's predictor only.
    """
    if predictor == OWN_PREDICTOR:
        return DivergenceError(f"{predictor}: {error}")
    problem = str(error).partition(";")[0]
    return PredictorError(f"{predictor}: {problem}; score must return finite numbers ({INTERFACE_HINT})")


def _draw_probe_seed() -> str:
    """Hex digits from which the proof's places and the ablations' slice follow, new for every run.

    All ranks must look at the same places, so the launcher gives them one seed in the environment. Raises GolfError for
    several ranks without one.
    """
    if PROBE_SEED_ENV not in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise GolfError(
            f"evaluate.ranks: all ranks need the same probe seed; start them with python -m stages.evaluate, or set "
            f"{PROBE_SEED_ENV} to the same random hex digits for all of them"
        )
    return os.environ.get(PROBE_SEED_ENV) or secrets.token_hex(16)
