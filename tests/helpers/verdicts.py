"""Verdicts for tests, and whole evaluations on disk: every check passes except those that the test gives."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from golf.artifacts import io, lineage
from golf.compliance import evaluation_log, verdict
from golf.compliance.catalog import CHECKS
from golf.compliance.check_result import PASS, CheckResult
from golf.evaluation import bpb
from golf.evaluation.ledger import Ledger

CONTEST_LIMITS = {
    "limit_bytes": 16_000_000,
    "train_limit_seconds": 600.0,
    "eval_limit_seconds": 600.0,
    "code_counted": "bundle",
}
HEADER = {"probe_seed": "ab", "predictor": "own:Predictor", "artifact_sha256": "0123456789abcdef"}


def make_passing_verdict(
    *changed: CheckResult,
    adapts: bool = False,
    comparable: bool = True,
    contamination: float | None = None,
    artifact_sha256: str = HEADER["artifact_sha256"],
    **limits: float | str | None,
) -> verdict.Verdict:
    """The verdict of a run that passes every check, with the results in ``changed`` in place of their checks'.

    limits: those that differ from the contest's.
    """
    results = {check_id: CheckResult(check_id, PASS, "1 of 1", "1") for check_id in CHECKS}
    results |= {result.check: result for result in changed}
    return verdict.make_verdict(
        list(results.values()),
        adapts=adapts,
        limits=CONTEST_LIMITS | limits,
        comparable=comparable,
        contamination=contamination,
        **HEADER | {"artifact_sha256": artifact_sha256},
    )


def write_evaluation(folder: Path, *changed: CheckResult, artifact: bytes = b"a model") -> None:
    """What an evaluation leaves below ``folder``: artifact, ledgers, code, metrics.json, verdict.json and the log."""
    out, artifact_path = folder / "artifacts/evaluate", folder / "artifacts/compress/model.golf"
    bundle_path = folder / "artifacts/compress/bundle.pyz"
    io.write_bytes(artifact_path, artifact)
    io.write_bytes(bundle_path, b"bundle")
    result = make_passing_verdict(*changed, artifact_sha256=lineage.hash_artifact(artifact_path))
    rng = np.random.default_rng(0)
    metrics = CONTEST_LIMITS | {"headline": "ttt", "invalid_modes": "", "comparable_with_fineweb": True}
    for mode in ("plain", "sliding", "ttt"):
        ledger = Ledger(mode, bos=1)
        for _ in range(2):
            ledger.append(np.array([1, 1, *range(2, 9)]), rng.random(8), np.full(8, 3), is_last=False)
        ledger.save(out / f"ledgers/{mode}.safetensors")
        score = bpb.compute_score(ledger.to_data())
        metrics |= {f"val_bpb_{mode}": score.bpb, f"val_bpb_{mode}_se": score.standard_error, f"seconds_{mode}": 1.5}
    metrics |= {"val_bpb": score.bpb, "val_bpb_clean": None, "val_contamination": None, "val_loss": score.loss}
    metrics |= {"val_tokens": score.n_tokens, "val_bytes": score.n_bytes, "implied_bytes": score.implied_bytes}
    metrics |= {"payload_bytes": len(artifact), "code_bytes": 6, "artifact_bytes": len(artifact) + 6}
    metrics |= {
        "train_seconds": 588.1,
        "eval_seconds": 412.0,
        "probe_seconds": 1.5,
        "proof_seconds": 1.5,
        "proof_replay_seconds": None,
    }
    entry = {"artifact": result.artifact_sha256, "predictor": result.predictor, "plan": None, "val": "0" * 64}
    entry |= {
        "kind": "evaluation",
        "headline": "ttt",
        "val_bpb": None,
        "verdict": None,
        "commit": None,
        "verdict_sha256": None,
    }
    context = SimpleNamespace(
        metrics=metrics,
        sandbox=SimpleNamespace(code_archive=b"code"),
        counted_bundle=str(bundle_path),
        ledger_dir=str(out / "ledgers"),
        log_path=str(out / "evaluation_log.jsonl"),
        log_entry=entry,
    )
    evaluation_log.append_entry(context.log_path, entry)
    paths = (str(out / name) for name in ("metrics.json", "verdict.json", "code.tar.xz"))
    verdict.publish(context, result, *paths)
