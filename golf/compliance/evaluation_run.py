"""Run the passes of an evaluation: the headline mode with probes, the other modes, then the ablations.

Each runs in a session of its own with a newly opened predictor. The headline comes first, so that its time includes
every compilation and nothing has seen the stream before it.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from golf.compliance import ablations
from golf.compliance.ablations import AblationResult
from golf.compliance.probes import InPassProbes
from golf.compliance.provenance import ArtifactProvenance
from golf.config.sections import EvaluateConfig
from golf.data.eval_stream import EvalStream
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import BudgetExceededError, DivergenceError, GolfError, PredictorError
from golf.evaluation import scoring_loop
from golf.evaluation.sandbox.host import Sandbox, SandboxTimeoutError
from golf.evaluation.sandbox.session import INTERFACE_HINT, SandboxSession
from golf.evaluation.scoring_loop import MODES, ModeResult

__all__ = [
    "N_PROBED_CHUNKS",
    "OWN_PREDICTOR",
    "EvaluationRun",
    "choose_probed_chunks",
    "make_nonfinite_error",
    "run_evaluation",
]

OWN_PREDICTOR = "golf.inference.predictor:GolfPredictor"  # the one whose hint is ttt.lr
N_PROBED_CHUNKS = 3  # the first chunk and others drawn at random


@dataclass(frozen=True)
class EvaluationRun:
    """The passes of an evaluation.

    results: by mode, the headline first. session: the headline's, closed. probes, ablations: None when probes are off
    (or, for ablations, when the stream is too short). access_reports: what each session's process accessed.
    probe_seconds: what the timer excluded, probes, ablations and state hashes. probe_seed: hex, the seed of all places
    that were probed.
    """

    results: dict[str, ModeResult]
    session: SandboxSession
    probes: InPassProbes | None
    ablations: AblationResult | None
    access_reports: list[dict[str, Any]]
    probe_seconds: float
    probe_seed: str


def run_evaluation(
    sandbox: Sandbox,
    provenance: ArtifactProvenance,
    stream: EvalStream,
    cfg: EvaluateConfig,
    context_length: int,
    vocab_size: int,
) -> EvaluationRun:
    """Score ``stream`` in every mode. The sandbox's timer gives the headline's limit, which ends with its last score.

    Raises BudgetExceededError at the limit, PredictorError when the predictor fails or breaks its contract.
    """
    probe_seed = _draw_probe_seed()
    rng = np.random.default_rng(list(bytes.fromhex(probe_seed)))
    ttt_cfg, timer = provenance.ttt_cfg, sandbox.timer
    pass_args: dict[str, Any] = {"ttt_cfg": ttt_cfg, "memory_cfg": provenance.memory_cfg}
    pass_args |= {"stride": cfg.stride, "context_length": context_length}

    def score_mode(session: SandboxSession, mode: str, **headline_args: Any) -> ModeResult:
        display: dict[str, Any] = {"disclaimer": provenance.disclaimer(mode), "quiet": not session.ctx.is_main}
        try:
            return scoring_loop.evaluate_mode(
                session, stream, mode, stage="evaluate", **pass_args, **display, **headline_args
            )
        except DivergenceError as error:
            raise make_nonfinite_error(cfg.predictor, error) from None

    probes = None
    with _explain_timeout(cfg), sandbox.session(hash_state=cfg.probe_alternative_tokens is not None) as session:
        if cfg.probe_alternative_tokens is not None:
            probed_chunks = choose_probed_chunks(stream.n_targets, ttt_cfg.chunk_tokens, rng)
            probes = InPassProbes(
                session, stream, ttt_cfg.chunk_tokens, probed_chunks, vocab_size, cfg.probe_alternative_tokens, rng
            )
        results: dict[str, ModeResult] = {}
        results[cfg.headline] = score_mode(session, cfg.headline, timer=timer, probes=probes)
        timer.lift_limit()
    headline_session, access_reports = session, [session.access_report]
    for mode in MODES:
        if mode != cfg.headline:
            with sandbox.session() as session:
                results[mode] = score_mode(session, mode)
            access_reports.append(session.access_report)
    ablation_result = None
    if probes is not None:
        with timer.excluded(), sandbox.session() as session:
            settings = scoring_loop.make_pass_settings(cfg.headline, stream.n_targets, **pass_args)
            probe_slice = ablations.ProbeSlice.sample(stream.tokens, stream.bos, context_length, rng)
            ablation_result = ablations.run_ablations(
                session, probe_slice, settings, headline_session.initial_state_hash
            )
        access_reports.append(session.access_report)
    return EvaluationRun(
        results, headline_session, probes, ablation_result, access_reports, timer.excluded_s, probe_seed
    )


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
    """The error for a pass with a score that is not finite. The ledger's hint, ttt.lr, fits golf's predictor only."""
    if predictor == OWN_PREDICTOR:
        return DivergenceError(f"{predictor}: {error}")
    problem = str(error).partition(";")[0]
    return PredictorError(f"{predictor}: {problem}; score must return finite numbers ({INTERFACE_HINT})")


def _draw_probe_seed() -> str:
    """Hex digits that seed the choice of probed places, new for every run so that no predictor can prepare for them.

    All ranks must probe the same places, so the launcher gives them one seed in the environment. Raises GolfError for
    several ranks without one.
    """
    if PROBE_SEED_ENV not in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise GolfError(
            f"evaluate.ranks: all ranks need the same probe seed; start them with python -m stages.evaluate, or set "
            f"{PROBE_SEED_ENV} to the same random hex digits for all of them"
        )
    return os.environ.get(PROBE_SEED_ENV) or secrets.token_hex(16)


def choose_probed_chunks(n_targets: int, chunk_tokens: int, rng: np.random.Generator) -> frozenset[int]:
    """Indices of the probed chunks: the first, and up to ``N_PROBED_CHUNKS`` - 1 others."""
    n_chunks = -(-n_targets // chunk_tokens)  # rounded up
    other_chunks = rng.choice(np.arange(1, n_chunks), min(N_PROBED_CHUNKS, n_chunks) - 1, replace=False)
    return frozenset({0, *map(int, other_chunks)})
