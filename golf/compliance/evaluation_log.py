"""The log of evaluations: every execution on val leaves a line, so that the best of several can't pass for the first.

It is written twice: before anything is scored, without val_bpb and verdict, and with them at the end; so one that was
broken off once its score was seen is there too. A line is a JSON object; ``previous`` is the sha256 of the line before
it (null in the first), so a line that was edited, moved or taken out shows. What was cut off at the end does not, nor a
file that is gone: commit it, and Git does.
"""

import datetime
import hashlib
import json
from pathlib import Path

from golf.artifacts import io
from golf.compliance.check_result import FAIL, PASS, CheckResult
from golf.errors import ArtifactError

_CHECK_ID = "C4-c"
_ENTRY_TYPES = {
    "artifact": str,  # sha256, as of plan and val
    "method": str,
    "plan": str | None,
    "val": str,
    "headline": str,
    "val_bpb": float | None,
    "verdict": str | None,
    "commit": str | None,
}
_ADDED_TYPES = {"time": str, "previous": str | None}
_RESTORE_HINT = "bring it back from Git; it is never edited"


def append_entry(path, entry: dict) -> None:
    """Add an execution with the time (UTC) and its link. entry: the keys of TYPES. The file is replaced as a whole.

    A log that is already broken is continued, not mended: it stays broken, and the run is not lost.
    Raises ValueError when the entry has other keys or types.
    """
    if problem := _schema_error(entry, _ENTRY_TYPES):
        raise ValueError(f"execution: {problem}")
    path = Path(path)
    old_content = path.read_bytes() if path.is_file() else b""
    if old_content and not old_content.endswith(b"\n"):
        old_content += b"\n"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, **entry, "previous": _prev_hash(old_content.splitlines())}, allow_nan=False)
    io.write_bytes(path, old_content + line.encode() + b"\n")


def _prev_hash(lines: list[bytes]) -> str | None:
    """What the line after these says as its previous."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else None


def read_entries(path) -> list[dict]:
    """Every execution, the first one first; none without a file. Raises BadArtifact naming the line that is wrong."""
    path = Path(path)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries = []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise ArtifactError(path, f"line {number + 1} is not JSON", _RESTORE_HINT) from None
        if problem := _schema_error(entry, _ENTRY_TYPES | _ADDED_TYPES):
            raise ArtifactError(path, f"line {number + 1}: {problem}", _RESTORE_HINT)
        if entry["previous"] != _prev_hash(lines[:number]):
            raise ArtifactError(
                path,
                f"line {number + 1} does not follow the one before: one was edited, moved or taken out",
                _RESTORE_HINT,
            )
        entries.append(entry)
    return entries


def _schema_error(entry, types: dict) -> str | None:
    if not isinstance(entry, dict) or entry.keys() != types.keys():
        return f"must hold {', '.join(types)}, got {sorted(entry) if isinstance(entry, dict) else entry!r}"
    mismatched_keys = [key for key, kind in types.items() if not isinstance(entry[key], kind)]
    return f"{mismatched_keys[0]}: got {entry[mismatched_keys[0]]!r}" if mismatched_keys else None


def _summarize_entries(entries: list[dict], artifact_sha256: str, val_sha256: str) -> CheckResult:
    """C4-c: how often this val was evaluated on, and how often this artifact as in its last execution.

    entries: the present execution last. artifact, val: sha256.
    """
    on_val = [entry for entry in entries if entry["val"] == val_sha256]
    of_artifact = [entry for entry in on_val if entry["artifact"] == artifact_sha256]
    same_setup = [entry for entry in of_artifact if _score_key(entry) == _score_key(of_artifact[-1])]
    scores = [entry["val_bpb"] for entry in same_setup if entry["val_bpb"] is not None]
    if len(scores) < 2:
        agreement = ""
    elif len(set(scores)) == 1:
        agreement = ", their val_bpb equal"
    else:
        agreement = f", their val_bpb from {min(scores):.6f} to {max(scores):.6f}"
    measured = f"{format_count(n_started(on_val))} on this val, {n_started(same_setup)} of this artifact, method and plan{agreement}"
    n_unfinished = n_started(on_val) - (len(on_val) - n_started(on_val))
    return CheckResult(
        _CHECK_ID, PASS, f"{measured}{f'; {n_unfinished} broken off' * (n_unfinished > 0)}", "every execution is logged"
    )


def n_started(entries: list[dict]) -> int:
    return sum(entry["val_bpb"] is None for entry in entries)


def _score_key(entry: dict) -> tuple:
    """What besides the artifact and val settles a score."""
    return entry["method"], entry["plan"], entry["headline"]


def format_count(count: int) -> str:
    return f"{count} execution{'s' * (count != 1)}"


def check_logged(log_path, entry: dict) -> CheckResult:
    """C4-c of an execution that is about to be appended: ``finding`` over the log and it; FAIL where it is broken."""
    try:
        old_entries = read_entries(log_path)
    except ArtifactError as error:
        return CheckResult(_CHECK_ID, FAIL, "", "every execution is logged", str(error))
    return _summarize_entries([*old_entries, entry], entry["artifact"], entry["val"])
