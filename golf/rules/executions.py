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

from golf.ground import store
from golf.ground.errors import BadArtifact
from golf.rules.finding import FAIL, PASS, Finding

CHECK = "C4-c"
TYPES = {
    "artifact": str,  # sha256, as of plan and val
    "method": str,
    "plan": str | None,
    "val": str,
    "headline": str,
    "val_bpb": float | None,
    "verdict": str | None,
    "commit": str | None,
}
WRITTEN = {"time": str, "previous": str | None}
CURE = "bring it back from Git; it is never edited"


def append(path, entry: dict) -> None:
    """Add an execution with the time (UTC) and its link. entry: the keys of TYPES. The file is replaced as a whole.

    A log that is already broken is continued, not mended: it stays broken, and the run is not lost.
    Raises ValueError when the entry has other keys or types.
    """
    if problem := misfit(entry, TYPES):
        raise ValueError(f"execution: {problem}")
    path = Path(path)
    earlier = path.read_bytes() if path.is_file() else b""
    if earlier and not earlier.endswith(b"\n"):
        earlier += b"\n"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, **entry, "previous": link(earlier.splitlines())}, allow_nan=False)
    store.write_bytes(path, earlier + line.encode() + b"\n")


def link(lines: list[bytes]) -> str | None:
    """What the line after these says as its previous."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else None


def read(path) -> list[dict]:
    """Every execution, the first one first; none without a file. Raises BadArtifact naming the line that is wrong."""
    path = Path(path)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries = []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise BadArtifact(path, f"line {number + 1} is not JSON", CURE) from None
        if problem := misfit(entry, TYPES | WRITTEN):
            raise BadArtifact(path, f"line {number + 1}: {problem}", CURE)
        if entry["previous"] != link(lines[:number]):
            raise BadArtifact(
                path, f"line {number + 1} does not follow the one before: one was edited, moved or taken out", CURE
            )
        entries.append(entry)
    return entries


def misfit(entry, types: dict) -> str | None:
    if not isinstance(entry, dict) or entry.keys() != types.keys():
        return f"must hold {', '.join(types)}, got {sorted(entry) if isinstance(entry, dict) else entry!r}"
    wrong = [key for key, kind in types.items() if not isinstance(entry[key], kind)]
    return f"{wrong[0]}: got {entry[wrong[0]]!r}" if wrong else None


def finding(entries: list[dict], artifact: str, val: str) -> Finding:
    """C4-c: how often this val was evaluated on, and how often this artifact as in its last execution.

    entries: the present execution last. artifact, val: sha256.
    """
    here = [entry for entry in entries if entry["val"] == val]
    same = [entry for entry in here if entry["artifact"] == artifact]
    alike = [entry for entry in same if way(entry) == way(same[-1])]
    scores = [entry["val_bpb"] for entry in alike if entry["val_bpb"] is not None]
    if len(scores) < 2:
        agreed = ""
    elif len(set(scores)) == 1:
        agreed = ", their val_bpb equal"
    else:
        agreed = f", their val_bpb from {min(scores):.6f} to {max(scores):.6f}"
    measured = f"{counted(begun(here))} on this val, {begun(alike)} of this artifact, method and plan{agreed}"
    unended = begun(here) - (len(here) - begun(here))
    return Finding(CHECK, PASS, f"{measured}{f'; {unended} broken off' * (unended > 0)}", "every execution is logged")


def begun(entries: list[dict]) -> int:
    return sum(entry["val_bpb"] is None for entry in entries)


def way(entry: dict) -> tuple:
    """What besides the artifact and val settles a score."""
    return entry["method"], entry["plan"], entry["headline"]


def counted(number: int) -> str:
    return f"{number} execution{'s' * (number != 1)}"


def logged(path, entry: dict) -> Finding:
    """C4-c of an execution that is about to be appended: ``finding`` over the log and it; FAIL where it is broken."""
    try:
        earlier = read(path)
    except BadArtifact as error:
        return Finding(CHECK, FAIL, "", "every execution is logged", str(error))
    return finding([*earlier, entry], entry["artifact"], entry["val"])
