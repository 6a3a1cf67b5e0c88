"""The evaluation log: every evaluation on val is logged, so that repeated attempts are visible.

An evaluation is logged twice: before anything is scored, without val_bpb and verdict, and with them at the end; so an
interrupted evaluation is logged too. ``golf prove`` adds an entry of ``kind`` "proof", whose ``verdict`` is its result;
it counts as no evaluation. A line is a JSON object. Its ``previous`` is the sha256 of the line before it
(null in the first) and its ``hash`` that of its own other keys, so that an edited, moved or removed line shows, the
last one too. The second entry's ``verdict_sha256`` is that of verdict.json. Lines cut off at the end do not show, nor
does a missing file or a log that was written anew with new hashes: commit the log, and Git shows them.

Lines of earlier versions have neither ``hash`` nor ``verdict_sha256``. They stand before all others and are protected
by the line that follows them alone: an edit of the last line of a log that ends with one does not show.
"""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from golf.artifacts import io, json_records, lineage
from golf.artifacts.json_records import Sha256
from golf.compliance.check_result import FAIL, PASS, Outcome
from golf.config.sections import EvaluateConfig
from golf.errors import ArtifactError
from golf.pipeline.progress import format_count

__all__ = [
    "EVALUATION",
    "PROOF",
    "append_entry",
    "count_started",
    "describe_log",
    "make_entry",
    "read_entries",
]

EVALUATION, PROOF = "evaluation", "proof"
_ENTRY_TYPES: dict[str, Any] = {
    "kind": str,  # EVALUATION or PROOF
    "artifact": str,  # sha256, as are plan and val
    "predictor": str,
    "plan": str | None,
    "val": str,
    "headline": str,
    "val_bpb": float | None,
    "verdict": str | None,
    "commit": str | None,
    "verdict_sha256": Sha256 | None,
}
_OLD_ADDED_TYPES: dict[str, Any] = {"time": str, "previous": str | None}
_ADDED_TYPES = _OLD_ADDED_TYPES | {"hash": str}
_NEW_KEYS = {"hash", "kind", "verdict_sha256"}
_OLD_TYPES = {key: kind for key, kind in _ENTRY_TYPES.items() if key not in _NEW_KEYS} | _OLD_ADDED_TYPES
_OLD_PREDICTOR_KEY = "method"  # in lines that are committed, which their hash chain keeps from being edited
_RESTORE_HINT = "restore it from Git; the log is never edited"
_LIMIT = "every evaluation is logged"


def make_entry(
    cfg: EvaluateConfig, plan: dict[str, Any], val_sha256: str, git_revision: dict[str, Any] | None
) -> dict[str, Any]:
    """Return an evaluation's entry before anything is scored.

    plan: how the ttt mode adapts. git_revision: as ``golf.pipeline.run_record`` gives it.
    """
    return {
        "kind": EVALUATION,
        "artifact": lineage.hash_artifact(cfg.artifact),
        "predictor": cfg.predictor,
        "plan": io.sha256_json(plan) if cfg.headline == "ttt" else None,
        "val": val_sha256,
        "headline": cfg.headline,
        "val_bpb": None,
        "verdict": None,
        "commit": git_revision and f"{git_revision['commit']}{' (dirty)' * git_revision['dirty']}",
        "verdict_sha256": None,
    }


def append_entry(path: str | Path, entry: dict[str, Any]) -> None:
    """Add a line with the time (UTC), the hash of the line before it and its own; the file is replaced as a whole.

    A log whose chain is broken is continued and stays broken, so that the run is not lost.
    Raises ValueError when the entry has other keys or types than an entry must have.
    """
    if problem := _find_schema_error(entry, _ENTRY_TYPES):
        raise ValueError(f"evaluation log entry: {problem}")
    path = Path(path)
    old_content = path.read_bytes() if path.is_file() else b""
    if old_content and not old_content.endswith(b"\n"):
        old_content += b"\n"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    body = {"time": now, **entry, "previous": _get_previous_hash(old_content.splitlines())}
    line = json.dumps(body | {"hash": io.sha256_json(body)}, allow_nan=False)
    io.write_bytes(path, old_content + line.encode() + b"\n")


def _get_previous_hash(lines: list[bytes]) -> str | None:
    """``previous`` of the line that follows ``lines``."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else None


def read_entries(path: str | Path) -> list[dict[str, Any]]:
    """Return all entries, oldest first; none without a file. Those of an earlier version get the present keys.

    Raises ArtifactError naming the line that is wrong.
    """
    path = Path(path)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries: list[dict[str, Any]] = []
    is_hashed = False
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise ArtifactError(path, f"line {number + 1} is not JSON", _RESTORE_HINT) from None
        entry = _rename_old_key(entry)
        is_hashed = is_hashed or (isinstance(entry, dict) and not entry.keys().isdisjoint(_NEW_KEYS))
        if problem := _find_schema_error(entry, _ENTRY_TYPES | _ADDED_TYPES if is_hashed else _OLD_TYPES):
            raise ArtifactError(path, f"line {number + 1}: {problem}", _RESTORE_HINT)
        if is_hashed and entry.pop("hash") != io.sha256_json(entry):
            raise ArtifactError(path, f"line {number + 1} does not match its own hash: it was edited", _RESTORE_HINT)
        if entry["previous"] != _get_previous_hash(lines[:number]):
            problem = f"line {number + 1} does not follow the one before: a line was edited, moved or removed"
            raise ArtifactError(path, problem, _RESTORE_HINT)
        entries.append({"kind": EVALUATION, "verdict_sha256": None} | entry)
    return entries


def _rename_old_key(entry: Any) -> Any:
    if not isinstance(entry, dict) or "predictor" in entry:
        return entry
    return {"predictor" if key == _OLD_PREDICTOR_KEY else key: value for key, value in entry.items()}


def _find_schema_error(entry: Any, types: dict[str, Any]) -> str | None:
    if not isinstance(entry, dict) or entry.keys() != types.keys():
        return f"must hold {', '.join(types)}, got {sorted(entry) if isinstance(entry, dict) else entry!r}"
    return next(iter(json_records.find_type_errors(entry, types)), None)


def describe_log(log_path: str | Path, entry: dict[str, Any]) -> Outcome:
    """Count the log's evaluations on this val and of this artifact, ``entry`` included, which ends the present one.

    FAIL when the log's chain is broken.
    """
    try:
        entries = [logged for logged in read_entries(log_path) if logged["kind"] == EVALUATION] + [entry]
    except ArtifactError as error:
        return Outcome(FAIL, "", _LIMIT, str(error))
    on_val = [logged for logged in entries if logged["val"] == entry["val"]]
    same_setup = [
        past for past in on_val if past["artifact"] == entry["artifact"] and _score_key(past) == _score_key(entry)
    ]
    scores = [logged["val_bpb"] for logged in same_setup if logged["val_bpb"] is not None]
    if len(scores) < 2:
        agreement = ""
    elif len(set(scores)) == 1:
        agreement = ", their val_bpb equal"
    else:
        agreement = f", their val_bpb from {min(scores):.6f} to {max(scores):.6f}"
    counts = (
        f"{format_count(count_started(on_val), 'evaluation')} on this val, {count_started(same_setup)} of this artifact"
    )
    n_unfinished = count_started(on_val) - (len(on_val) - count_started(on_val))
    unfinished = f"; {n_unfinished} interrupted" if n_unfinished > 0 else ""
    return Outcome(PASS, f"{counts}, predictor and plan{agreement}{unfinished}", _LIMIT)


def count_started(entries: list[dict[str, Any]]) -> int:
    """Return the number of evaluations that began: each has one entry without val_bpb."""
    return sum(entry["val_bpb"] is None for entry in entries)


def _score_key(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What determines a score besides the artifact and val."""
    return entry["predictor"], entry["plan"], entry["headline"]
