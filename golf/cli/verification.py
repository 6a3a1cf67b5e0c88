"""Check that the files an evaluation left on disk agree, before a command prints them: no model runs.

The log of evaluations names verdict.json by its sha256, verdict.json names metrics.json, the ledgers and the code, and
the ledgers give the scores again. An edit of one of them alone therefore shows. Who edits all of them and recomputes
every hash is stopped by Git, which holds the log.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io, json_records
from golf.artifacts.json_records import Count, Seconds, Sha256
from golf.compliance import evaluation_log, verdict
from golf.compliance.catalog import CHECKS
from golf.errors import ArtifactError
from golf.evaluation import bpb, ledger
from golf.evaluation.ledger import LedgerData
from golf.evaluation.scoring_loop import MODES

__all__ = ["METRICS_TYPES", "verify_evaluation"]

METRICS_TYPES: dict[str, Any] = {  # of metrics.json
    "headline": str,
    "verdict": str,
    "invalid_modes": str,
    "code_counted": str,
    "comparable_with_fineweb": bool,
    **{f"val_bpb{suffix}": float for suffix in ("", *(f"_{mode}" for mode in MODES))},
    **{f"val_bpb_{mode}_se": float | None for mode in MODES},
    **{f"seconds_{mode}": Seconds for mode in MODES},
    "val_bpb_clean": float | None,
    "val_contamination": float | None,
    "val_loss": float,
    "val_tokens": Count,
    "val_bytes": Count,
    "implied_bytes": float,
    **{f"{kind}_bytes": Count for kind in ("payload", "code", "artifact", "limit")},
    **{f"{kind}_seconds": Seconds | None for kind in ("train", "train_limit", "eval_limit", "proof", "proof_replay")},
    **{f"{kind}_seconds": Seconds for kind in ("eval", "probe")},
}
_TOLERANCE = 1e-6  # of scores computed on another machine, relative for bytes
_HINT = "restore the evaluation with: dvc checkout evaluate, or evaluate again: dvc repro -f -s evaluate"


def verify_evaluation(path: str | Path = verdict.VERDICT_PATH) -> None:
    """Compare the verdict at ``path`` with the log of evaluations, and with the scores and sizes computed again.

    Raises ArtifactError that names the first file that does not agree, and how.
    """
    path = Path(path)
    record = verdict.read_verdict(path)
    if [row["check"] for row in record["checks"]] != list(CHECKS):
        raise ArtifactError(path, "does not list the checks of this version", "run: dvc repro -f -s evaluate")
    entry = _find_entry(path)
    digests = json_records.require_keys(path, record, {"files": dict}, hint="run: dvc repro -f -s evaluate")["files"]
    for name, digest in json_records.require_keys(path, digests, dict.fromkeys(digests, Sha256), "files").items():
        _require_digest(path.parent / name, digest)
    metrics_path = path.with_name("metrics.json")
    metrics = json_records.read_record(metrics_path, **METRICS_TYPES)
    ledgers = {Path(name).stem: ledger.read(path.parent / name)[0] for name in digests if name.startswith("ledgers/")}
    if metrics["headline"] not in ledgers:
        raise ArtifactError(metrics_path, f"headline: {metrics['headline']!r:.40} has no ledger", _HINT)
    expected = dict(_recompute_metrics(metrics["headline"], ledgers))
    bundle = next((name for name in digests if name.endswith(".pyz")), None)
    expected |= {"code_bytes": (path.parent / (bundle or "code.tar.xz")).stat().st_size}
    expected |= {"artifact_bytes": metrics["payload_bytes"] + metrics["code_bytes"], "verdict": record["verdict"]}
    for key, value in expected.items():
        if not _is_equal(metrics[key], value):
            raise ArtifactError(metrics_path, f"{key} is {metrics[key]!r:.60}, computed again {value!r:.60}", _HINT)
    summary = verdict.summarize_record(record, metrics)
    stated = {
        "verdict": (record["verdict"], summary),
        "val_bpb in the log": (entry["val_bpb"], metrics["val_bpb"]),
        "artifact_sha256": (record["artifact_sha256"], entry["artifact"]),
        "predictor": (record["predictor"], entry["predictor"]),
    }
    for key, (recorded, computed) in stated.items():
        if not _is_equal(recorded, computed):
            raise ArtifactError(path, f"{key} is {recorded!r:.100}, its rows and files give {computed!r:.100}", _HINT)


def _find_entry(path: Path) -> dict[str, Any]:
    """The log's entry of this verdict.json, which may be of an earlier evaluation that was restored."""
    log_path = path.with_name("evaluation_log.jsonl")
    if not log_path.is_file():
        raise ArtifactError(log_path, "not found", f"restore it with: git checkout {log_path}")
    digest = io.sha256_file(path)
    entries = [entry for entry in evaluation_log.read_entries(log_path) if entry["verdict_sha256"] == digest]
    if not entries:
        raise ArtifactError(path, f"no line of {log_path.name} has its sha256: one of the two was edited", _HINT)
    return entries[-1]


def _require_digest(path: Path, digest: str) -> None:
    if not path.is_file():
        raise ArtifactError(path, "not found", _HINT)
    if io.sha256_file(path) != digest:
        raise ArtifactError(path, "is not the file that verdict.json names: it was edited", _HINT)


def _recompute_metrics(headline: str, ledgers: dict[str, LedgerData]) -> Iterator[tuple[str, Any]]:
    for mode, rows in ledgers.items():
        score = bpb.compute_score(rows)
        yield f"val_bpb_{mode}", score.bpb
        yield f"val_bpb_{mode}_se", score.standard_error
        if mode == headline:
            yield from {"val_bpb": score.bpb, "val_loss": score.loss, "val_tokens": score.n_tokens}.items()
            yield from {"val_bytes": score.n_bytes, "implied_bytes": score.implied_bytes}.items()


def _is_equal(recorded: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(recorded, int | float):
        return bool(np.isclose(recorded, expected, rtol=_TOLERANCE, atol=_TOLERANCE))
    return bool(recorded == expected)
