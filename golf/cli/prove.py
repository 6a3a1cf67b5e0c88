"""``golf prove``: check a saved ledger with a newly opened predictor, now or later, here or on another machine."""

import dataclasses
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import json_records, lineage
from golf.cli.byte_report import ByteCollector
from golf.compliance import evaluation_log, evaluation_run, provenance
from golf.compliance.proof import ELSEWHERE_TOLERANCES, FORGED_FRAC, TOLERANCES, Proof, Tolerances
from golf.config import loader
from golf.config.sections import EvaluateConfig
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed.context import DistContext
from golf.distributed.packages import get_installed_version
from golf.errors import ArtifactError, ConfigError, InputError, PredictorError
from golf.evaluation import bpb, ledger
from golf.evaluation.chunks import get_chunk_tokens, list_chunk_ends
from golf.evaluation.fence.restrictions import FenceRecord
from golf.evaluation.ledger import LedgerData
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.sandbox.host import Sandbox
from golf.evaluation.sandbox.session import SessionRecord
from golf.evaluation.scoring_loop import MODES
from golf.pipeline import run_record, timing
from golf.pipeline.progress import format_count

__all__ = ["ProofPaths", "prove_ledger"]

_FETCH_DIR, _LOG_PATH = Path("artifacts/fetch"), Path("artifacts/evaluate/evaluation_log.jsonl")
_PROVEN, _NOT_PROVEN = "PROVEN", "NOT PROVEN"


@dataclass(frozen=True)
class ProofPaths:
    """What is proven: the ledger, and the artifact, plan.json and packed code that made it."""

    ledger: Path
    artifact: Path
    plan: Path
    code: Path


def prove_ledger(
    paths: ProofPaths, places_per_chunk: int | None, *, prove_all: bool = False, write_bytes: bool = False
) -> tuple[str, bool]:
    """Prove a ledger of val and log the result; return the report and whether a sealed score is contradicted.

    The other settings are those of params.yaml. places_per_chunk: None is evaluate.proof_places. prove_all: every
    target instead. write_bytes: also write the byte costs, unless a score is contradicted; needs ``prove_all``.
    Raises ArtifactError for a damaged file, InputError where the files are not of one evaluation.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("golf prove runs in one process; start it without torchrun")
    cfg = loader.load_config()
    evaluate_cfg = dataclasses.replace(cfg.evaluate, artifact=str(paths.artifact), limit_s=None)
    places = None if prove_all else places_per_chunk or evaluate_cfg.proof_places
    if places is None and not prove_all:
        raise ConfigError("evaluate.proof_places: is null, so no proof is wanted; give --places N or --all")
    sealed, meta = ledger.read(paths.ledger)
    ttt_cfg, memory_cfg = provenance.read_plan(paths.plan, cfg.model.context_length)
    record = _require_same_evaluation(paths, meta, evaluate_cfg)
    tokenizer = Tokenizer.open(_FETCH_DIR / "tokenizer.model")
    stream = EvalStream.from_split(split_reader.open_split(_FETCH_DIR / "val", cfg.model.vocab_size), tokenizer)
    chunk_tokens = get_chunk_tokens(meta["mode"], evaluate_cfg.headline, ttt_cfg.chunk_tokens)
    chunk_ends = list_chunk_ends(stream.tokens, chunk_tokens, evaluate_cfg.order)
    _require_same_rows(stream, chunk_ends, sealed, paths.ledger)
    settings = PassSettings.for_mode(
        meta["mode"],
        n_chunks=len(chunk_ends),
        ttt_cfg=ttt_cfg,
        memory_cfg=memory_cfg,
        stride=evaluate_cfg.stride,
        context_length=cfg.model.context_length,
        order=evaluate_cfg.order,
    )
    plan = {"ttt": dataclasses.asdict(ttt_cfg), "memory": dataclasses.asdict(memory_cfg)}
    entry = _make_log_entry(dataclasses.replace(evaluate_cfg, headline=meta["mode"]), plan, sealed)
    collector = ByteCollector(tokenizer) if write_bytes else None
    try:
        with Sandbox(evaluate_cfg, code_path=paths.code, manifest_path=_FETCH_DIR / "manifest.json") as sandbox:
            result, session = evaluation_run.run_proof(
                sandbox,
                stream.tokens,
                sealed,
                settings,
                places_per_chunk=places,
                seed=secrets.token_hex(16),
                on_prediction=collector.add if collector else None,
            )
    except PredictorError as error:
        evaluation_log.append_entry(_LOG_PATH, entry | {"verdict": f"{_NOT_PROVEN}: {error}"})
        raise
    differences = _find_differences(paths.ledger, record, session.ctx)
    tolerances = (ELSEWHERE_TOLERANCES if differences else TOLERANCES)[evaluate_cfg.dtype]
    failures = result.find_failures(tolerances, cfg.model.vocab_size) + _find_accesses(session)
    fence: FenceRecord = session.access_report["fence"]
    conclusions = [f"{_NOT_PROVEN}: {failure}" for failure in failures] or [_describe_success(differences, fence)]
    n_places = f" ({format_count(result.comparison.n_places, 'place')} of {format_count(result.n_chunks, 'chunk')})"
    evaluation_log.append_entry(_LOG_PATH, entry | {"verdict": "; ".join(conclusions) + n_places})
    lines = _render_report(paths, meta["mode"], sealed, result, tolerances, differences)
    if collector is not None and not failures:
        lines.append(f"{'bytes':<12}{collector.save(paths.ledger, meta['mode'])}; show it with: golf results --bytes")
    lines += [f"{'fence':<12}{', '.join(fence.restrictions) or 'nothing'}", "", *conclusions]
    return "\n".join(lines), bool(failures)


def _require_same_evaluation(paths: ProofPaths, meta: dict[str, Any], cfg: EvaluateConfig) -> dict[str, Any]:
    """The ledger's lineage. Raises InputError unless files and settings are those that it was made with."""
    if meta.get("mode") not in MODES or not isinstance(meta.get("sha256"), dict):
        raise ArtifactError(paths.ledger, "is no ledger of an evaluation of this version")
    record = lineage.validate(meta.get("lineage"), paths.ledger)
    recorded = {name: entry["sha256"] for name, entry in record["inputs"].items()} | meta["sha256"]
    files = {"artifact": paths.artifact, "plan": paths.plan, "code": paths.code, "val": _FETCH_DIR / "val"}
    for name, path in files.items():
        expected, actual = recorded.get(name), lineage.hash_artifact(path)
        if expected not in (None, actual):
            hint = "restore the split" if name == "val" else f"give the {name} of the same evaluation (--{name})"
            raise InputError(f"{path}: is {actual[:12]}, but {paths.ledger} was made with {expected[:12]}; {hint}")
    settings = {"predictor": meta.get("predictor"), "stride": meta.get("stride"), "order": meta.get("order")}
    settings |= {"dtype": record.get("dtype")}
    for key, made_with in settings.items():
        if made_with != getattr(cfg, key):
            problem = f"evaluate.{key}: is {getattr(cfg, key)}, but {paths.ledger} was made with {made_with}"
            raise InputError(f"{problem}; set it so in params.yaml")
    return record


def _require_same_rows(stream: EvalStream, chunk_ends: list[int], sealed: LedgerData, path: Path) -> None:
    """Raises InputError unless the rows, their bytes, documents and chunks are those of the stream."""
    starts = np.flatnonzero(stream.tokens[1:] == stream.bos)
    expected = {
        "bytes": stream.target_bytes,
        "chunk_ids": np.repeat(np.arange(len(chunk_ends)), np.diff(chunk_ends, prepend=0)),
        "document_starts": np.concatenate([[0], starts[starts > 0]]),
    }
    for name, rows in expected.items():
        if not np.array_equal(getattr(sealed, name), rows):
            hint = "; evaluate.headline must be the one it was made with" if name == "chunk_ids" else ""
            raise InputError(f"{path}: its {name} are not those of {_FETCH_DIR}/val in the plan's chunks{hint}")


def _make_log_entry(cfg: EvaluateConfig, plan: dict[str, Any], sealed: LedgerData) -> dict[str, Any]:
    """The entry of a proof, without its result."""
    val_sha256 = lineage.hash_artifact(_FETCH_DIR / "val")
    entry = evaluation_log.make_entry(cfg, plan, val_sha256, run_record.get_git_revision())
    return entry | {"kind": evaluation_log.PROOF, "val_bpb": bpb.compute_score(sealed).bpb}


def _find_accesses(session: SessionRecord) -> list[str]:
    """What the second predictor opened besides its own files: it may have read what it was to predict."""
    report = session.access_report
    entries = [entry for kind in ("files", "sockets", "commands") for entry in report[kind]]
    return [f"the predictor accessed something outside the sandbox: {', '.join(entries[:3])}"] if entries else []


def _describe_success(differences: list[str], fence: FenceRecord) -> str:
    """The conclusion that no sealed score is contradicted, with what limits it."""
    limits = ["with the tolerances for another machine"] if differences else []
    limits += [f"if the predictor did not read val, as a restriction is missing: {reason}" for reason in fence.missing]
    return ", ".join([_PROVEN, *limits])


def _find_differences(ledger_path: Path, record: dict[str, Any], ctx: DistContext) -> list[str]:
    """What differs here from where the ledger was made, by its lineage and the run.json of its evaluation."""
    run_path = ledger_path.parent.parent / "run.json"
    differences = [] if record["ranks"] == ctx.world_size else [f"{record['ranks']} ranks there, {ctx.world_size} here"]
    if not run_path.is_file():
        return [*differences, f"the evaluation's machine is unknown ({run_path} is missing)"]
    run = json_records.read_record(run_path, hardware=str, packages=dict)
    recorded = {"hardware": run["hardware"], "torch": run["packages"].get("torch")}
    current = {"hardware": timing.describe_hardware(ctx), "torch": get_installed_version("torch")}
    return differences + [
        f"{key} {recorded[key]} there, {value} here" for key, value in current.items() if value != recorded[key]
    ]


def _render_report(
    paths: ProofPaths,
    mode: str,
    sealed: LedgerData,
    proof: Proof,
    tolerances: Tolerances,
    differences: list[str],
) -> list[str]:
    comparison = proof.comparison
    shows = comparison.probability_of_detection(FORGED_FRAC)
    discount = comparison.smallest_detectable_discount(tolerances.mean_nats)
    machine = f"another, so tolerances are wider: {'; '.join(differences)}" if differences else "that of the evaluation"
    return [
        f"{'ledger':<12}{paths.ledger}, mode {mode}, {bpb.compute_score(sealed).bpb:.4f} bpb",
        f"{'places':<12}{comparison.n_places:,} of {format_count(len(sealed.nll), 'target')}, in all "
        f"{format_count(proof.n_chunks, 'chunk')}",
        f"{'difference':<12}at most {comparison.max_diff:.1e} nats; allowed {tolerances.place_nats:g}",
        f"{'mean':<12}{-comparison.mean_diff:+.1e} nats better than predictions; allowed {tolerances.mean_nats:g}",
        f"{'would show':<12}a discount of {discount:.1e} nats; {FORGED_FRAC:.0%} of scores forged, with {shows:.1%}",
        f"{'machine':<12}{machine}",
        f"{'seconds':<12}{proof.predict_s:.1f} for predictions, {proof.replay_s:.1f} for learning again",
    ]
