"""A method on trial: each way of scoring in a sitting of its own, the headline's audited, then the ablations."""

import contextlib
import dataclasses
import os
import secrets
import time
from dataclasses import dataclass

import numpy as np

from golf.compliance import ablations, probes
from golf.compliance.check_result import CheckResult
from golf.compliance.context import ArtifactContext
from golf.compliance.probes import InPassProbes
from golf.config.sections import EvaluateConfig
from golf.data.eval_stream import EvalStream
from golf.errors import BudgetExceededError, DivergenceError, GolfError, PredictorError
from golf.evaluation import evaluator
from golf.evaluation.evaluator import ModeResult
from golf.evaluation.sandbox.host import INTERFACE_HINT, Sandbox, SandboxSession, SandboxTimeoutError
from golf.pipeline import runner
from golf.pipeline.runner import PROBE_SEED_ENV

OWN_PREDICTOR = "golf.inference.predictor:GolfPredictor"  # the one that learns by the ttt section
N_PROBED_CHUNKS = 3  # chunks: the first, and others anywhere


@dataclass(frozen=True)
class EvaluationRun:
    """judged: by way, the headline first. findings: of the probes. sitting: the headline's, over. reports: what each
    sitting's process opened. probe_seconds: spent on probes and hashes, no part of the headline's time. seed: what the
    places that they looked at follow from.
    """

    results: dict[str, ModeResult]
    check_results: list[CheckResult]
    session: SandboxSession
    access_reports: list[dict]
    probe_seconds: float
    probe_seed: str

    def headline_seconds(self, start_time: float) -> float:
        """Of the headline way, from the start of the process (seconds since the epoch) to its last score."""
        headline_result = next(iter(self.results.values()))
        return headline_result.ended_at - start_time - headline_result.probe_seconds - self.session.hashing_s


def run_evaluation(
    sandbox: Sandbox,
    artifact_ctx: ArtifactContext,
    stream: EvalStream,
    cfg: EvaluateConfig,
    *,
    context_length: int,
    vocab_size: int,
) -> EvaluationRun:
    """Every way, the headline first, so that its clock carries every compilation and no other has met the stream."""
    probe_seed = _draw_probe_seed()
    rng = np.random.default_rng(list(bytes.fromhex(probe_seed)))
    probes_enabled = cfg.probe_alternative_tokens is not None
    pass_kwargs = {"ttt_cfg": artifact_ctx.ttt_cfg, "stride": cfg.stride, "context_length": context_length}

    def score_mode(session: SandboxSession, mode: str, **extra_kwargs) -> ModeResult:
        progress_kwargs = {
            "stage": "evaluate",
            "disclaimer": artifact_ctx.disclaimer(mode),
            "quiet": not session.ctx.is_main,
        }
        try:
            return evaluator.evaluate_mode(session, stream, mode, **pass_kwargs, **progress_kwargs, **extra_kwargs)
        except DivergenceError as error:
            raise make_nonfinite_error(cfg.predictor, error) from None

    with _enforce_time_limit(sandbox, cfg), sandbox.session(hash_state=probes_enabled) as headline_session:
        in_pass_probes = None
        if probes_enabled:
            chunks = choose_probed_chunks(stream.n_targets, artifact_ctx.ttt_cfg.chunk_tokens, rng)
            in_pass_probes = InPassProbes(
                headline_session,
                stream,
                artifact_ctx.ttt_cfg.chunk_tokens,
                chunks,
                vocab_size,
                cfg.probe_alternative_tokens,
                rng,
            )
        used_s = time.time() - runner.process_start_time()
        headline_result = score_mode(
            headline_session, cfg.headline, limit_s=cfg.limit_s, elapsed_s=used_s, probes=in_pass_probes
        )
        sandbox.deadline = None  # its last score is there
        results = {
            cfg.headline: dataclasses.replace(
                headline_result, seconds=headline_result.seconds - headline_session.hashing_s
            )
        }
    access_reports = [headline_session.access_report]
    for mode in evaluator.MODES:
        if mode != cfg.headline:
            with sandbox.session() as session:
                results[mode] = score_mode(session, mode)
            access_reports.append(session.access_report)
    if not probes_enabled:
        note = "probes are off (evaluate.probe_alternative_tokens: null)"
        return EvaluationRun(
            results,
            probes.skip_checks(note) + ablations.skip_checks(note),
            headline_session,
            access_reports,
            0.0,
            probe_seed,
        )
    start = time.perf_counter()
    with sandbox.session() as session:
        settings = evaluator.make_pass_settings(cfg.headline, stream.n_targets, **pass_kwargs)
        probe_slice = ablations.ProbeSlice.sample(stream.tokens, stream.bos, context_length, rng)
        ablation_results = ablations.check_ablations(
            session, probe_slice, settings, headline_session.initial_state_hash
        )
    access_reports.append(session.access_report)
    probe_seconds = time.perf_counter() - start + results[cfg.headline].probe_seconds + headline_session.hashing_s
    return EvaluationRun(
        results,
        probes.check_probes(in_pass_probes) + ablation_results,
        headline_session,
        access_reports,
        probe_seconds,
        probe_seed,
    )


@contextlib.contextmanager
def _enforce_time_limit(sandbox: Sandbox, cfg: EvaluateConfig):
    """Inside, the method's answers are awaited until evaluate.limit_s is used up, which began with this command.

    Of several ranks the first keeps the clock; those of other machines may have waited for it. Raises OverBudget once
    it is used up: there is no score, as one of a part of the text would be another text's.
    """
    sandbox.deadline = (
        runner.process_start_time() + cfg.limit_s if cfg.limit_s is not None and runner.is_main_process() else None
    )
    try:
        yield
    except SandboxTimeoutError as timeout:
        raise BudgetExceededError(
            f"evaluate.limit_s: {cfg.limit_s:g} s from the start of the command were over in the call {timeout}, "
            f"before the pass {cfg.headline} had its last score, so there is none; a faster machine or more "
            f"evaluate.ranks take less, and null judges without a limit"
        ) from None


def make_nonfinite_error(predictor: str, error: DivergenceError) -> GolfError:
    """A pass that met a score which is no number. The ledger's cure, ttt.lr, is one for golf's own learner alone."""
    if predictor == OWN_PREDICTOR:
        return DivergenceError(f"{predictor}: {error}")
    problem = str(error).partition(";")[0]
    return PredictorError(f"{predictor}: {problem}; its score must answer with finite numbers ({INTERFACE_HINT})")


def _draw_probe_seed() -> str:
    """Hex from which the probes choose their places: drawn anew for every run, so that no method can be made to pass
    at just these. Ranks get one from their launcher (``golf.pipeline.runner.SECRET``), as they must all look alike;
    raises GolfError where several have none.
    """
    if PROBE_SEED_ENV not in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise GolfError(
            f"evaluate.ranks: the ranks must share one secret; start them with python -m stages.evaluate, or give all "
            f"of them the same random hex digits in {PROBE_SEED_ENV}"
        )
    return os.environ.get(PROBE_SEED_ENV) or secrets.token_hex(16)


def choose_probed_chunks(n_targets: int, chunk_tokens: int, rng: np.random.Generator) -> frozenset[int]:
    """Indexes of the chunks that are audited."""
    n_chunks = -(-n_targets // chunk_tokens)
    other_chunks = rng.choice(np.arange(1, n_chunks), min(N_PROBED_CHUNKS, n_chunks) - 1, replace=False)
    return frozenset({0, *map(int, other_chunks)})
