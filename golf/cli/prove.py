"""``golf prove``: hold a saved ledger against a newly opened predictor, now or later, here or on another machine."""

import dataclasses
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import json_records, lineage
from golf.compliance import evaluation_log, evaluation_run, provenance
from golf.compliance.proof import ELSEWHERE_TOLERANCES, TOLERANCES, Proof, Tolerances
from golf.config import loader
from golf.data import split_reader
from golf.distributed.context import DistContext
from golf.distributed.packages import installed_version
from golf.errors import ConfigError, InputError
from golf.evaluation import bpb, ledger, scoring_loop
from golf.evaluation.ledger import LedgerData
from golf.evaluation.sandbox.host import Sandbox
from golf.pipeline import run_record, timing

__all__ = ["ProofPaths", "prove_ledger"]

_VAL_DIR, _LOG_PATH = Path("artifacts/fetch/val"), Path("artifacts/evaluate/evaluation_log.jsonl")
_PROVEN, _NOT_PROVEN = "PROVEN", "NOT PROVEN"
_FORGED_FRAC = 0.01  # of the targets, for which the report states the probability that a forgery would have shown


@dataclass(frozen=True)
class ProofPaths:
    """What is proven: the ledger, and the artifact, plan.json and packed code that made it."""

    ledger: Path
    artifact: Path
    plan: Path
    code: Path


def prove_ledger(paths: ProofPaths, places_per_chunk: int | None, *, prove_all: bool = False) -> tuple[str, bool]:
    """Prove a ledger of val and log the result; return the report and whether a sealed score is contradicted.

    The other settings are those of params.yaml. places_per_chunk: None is evaluate.proof_places. prove_all: every
    target instead.
    Raises ArtifactError for a damaged file, InputError where the files are not of one evaluation.
    """
    cfg = loader.load_config()
    evaluate_cfg = dataclasses.replace(cfg.evaluate, artifact=str(paths.artifact), limit_s=None)
    sealed, meta = ledger.read(paths.ledger)
    record = _read_lineage(paths, meta)
    ttt_cfg, memory_cfg = provenance.read_plan(paths.plan, cfg.model.context_length)
    tokens = split_reader.open_split(_VAL_DIR, cfg.model.vocab_size).read_tokens()
    if len(tokens) - 1 != len(sealed.nll):
        raise InputError(f"{paths.ledger}: has {len(sealed.nll):,} targets, {_VAL_DIR} has {len(tokens) - 1:,}")
    settings = scoring_loop.make_pass_settings(
        meta["mode"],
        len(sealed.nll),
        ttt_cfg=ttt_cfg,
        memory_cfg=memory_cfg,
        stride=evaluate_cfg.stride,
        context_length=cfg.model.context_length,
    )
    if not prove_all and (places_per_chunk := places_per_chunk or evaluate_cfg.proof_places) is None:
        raise ConfigError("evaluate.proof_places: is null, so no proof is wanted; give --places N or --all")
    with Sandbox(evaluate_cfg, bundle_path=paths.code) as sandbox:
        result, session = evaluation_run.run_proof(
            sandbox, tokens, sealed, settings, None if prove_all else places_per_chunk, seed=secrets.token_hex(16)
        )
    differences = _find_differences(paths.ledger, record, session.ctx)
    tolerances = (ELSEWHERE_TOLERANCES if differences else TOLERANCES)[evaluate_cfg.dtype]
    failures = result.find_failures(tolerances, cfg.model.vocab_size)
    outcome = "; ".join(f"{_NOT_PROVEN}: {failure}" for failure in failures) or _describe_success(result, differences)
    plan = {"ttt": dataclasses.asdict(ttt_cfg), "memory": dataclasses.asdict(memory_cfg)}
    entry = evaluation_log.make_entry(
        dataclasses.replace(evaluate_cfg, headline=meta["mode"]),
        plan,
        lineage.artifact_sha256(_VAL_DIR),
        run_record.git_revision(),
    )
    outcome_keys = {"kind": evaluation_log.PROOF, "val_bpb": bpb.compute_score(sealed).bpb, "verdict": outcome}
    evaluation_log.append_entry(_LOG_PATH, entry | outcome_keys)
    return _render_report(paths, meta["mode"], sealed, result, tolerances, differences, failures), bool(failures)


def _describe_success(proof: Proof, differences: list[str]) -> str:
    tolerances = " with the tolerances for another machine" if differences else ""
    return f"{_PROVEN}{tolerances}: {proof.comparison.n_places:,} places of {proof.n_chunks:,} chunks"


def _read_lineage(paths: ProofPaths, meta: dict[str, Any]) -> dict[str, Any]:
    """The ledger's lineage. Raises InputError unless the artifact and the plan are those that it names."""
    record = lineage.validate(meta.get("lineage"), paths.ledger)
    for name, path in (("artifact", paths.artifact), ("plan", paths.plan)):
        expected = record["inputs"].get(name, {}).get("sha256")
        actual = lineage.artifact_sha256(path)
        if expected not in (None, actual):
            raise InputError(
                f"{path}: is {actual[:12]}, but {paths.ledger} was made with {expected[:12]}; "
                f"give the {name} of the same evaluation (--{name})"
            )
    return record


def _find_differences(ledger_path: Path, record: dict[str, Any], ctx: DistContext) -> list[str]:
    """What differs here from where the ledger was made, by its lineage and the run.json of its evaluation."""
    run_path = ledger_path.parent.parent / "run.json"
    differences = [] if record["ranks"] == ctx.world_size else [f"{record['ranks']} ranks there, {ctx.world_size} here"]
    if not run_path.is_file():
        return [*differences, f"the evaluation's machine is unknown ({run_path} is missing)"]
    run = json_records.read_record(run_path, hardware=str, packages=dict)
    there = {"hardware": run["hardware"], "torch": run["packages"].get("torch")}
    here = {"hardware": timing.describe_hardware(ctx), "torch": installed_version("torch")}
    return differences + [f"{key} {there[key]} there, {here[key]} here" for key in here if here[key] != there[key]]


def _render_report(
    paths: ProofPaths,
    mode: str,
    sealed: LedgerData,
    proof: Proof,
    tolerances: Tolerances,
    differences: list[str],
    failures: list[str],
) -> str:
    comparison = proof.comparison
    shows = comparison.probability_of_detection(_FORGED_FRAC)
    discount = comparison.smallest_detectable_discount(tolerances.mean_nats)
    machine = f"another, so tolerances are wider: {'; '.join(differences)}" if differences else "that of the evaluation"
    lines = [
        f"{'ledger':<12}{paths.ledger}, mode {mode}, {bpb.compute_score(sealed).bpb:.4f} bpb",
        f"{'places':<12}{comparison.n_places:,} of {len(sealed.nll):,} targets, in all {proof.n_chunks:,} chunks",
        f"{'difference':<12}at most {comparison.max_diff:.1e} nats; allowed {tolerances.place_nats:g}",
        f"{'mean':<12}{-comparison.mean_diff:+.1e} nats better than predictions; allowed {tolerances.mean_nats:g}",
        f"{'would show':<12}a discount of {discount:.1e} nats; {_FORGED_FRAC:.0%} of scores forged, with {shows:.1%}",
        f"{'machine':<12}{machine}",
        f"{'seconds':<12}{proof.predict_s:.1f} for predictions, {proof.replay_s:.1f} for learning again",
        "",
    ]
    return "\n".join(lines + ([f"{_NOT_PROVEN}: {failure}" for failure in failures] or [_PROVEN]))
