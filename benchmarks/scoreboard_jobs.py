"""Jobs of the scoreboard: each in processes of its own, its rows in a cache, so that one command resumes.

A job has two phases, ``build`` and ``score``, each a child process whose peak memory the system reports. Its rows are
kept by a digest of everything they depend on; a job whose digest is in the cache is not run again. What did not run is
not kept, so that the next command tries it again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from golf.artifacts import io
from golf.errors import GolfError

__all__ = [
    "NOT_RUN",
    "PHASES",
    "Coder",
    "Job",
    "Row",
    "RowCache",
    "Stopwatch",
    "UnavailableRowError",
    "cached_selection",
    "compute_digest",
    "run_job",
    "run_phase",
]

NOT_RUN = "NOT-RUN"
PHASES = ("build", "score")
_MAX_REASON_CHARS = 300

Row = dict[str, Any]


class UnavailableRowError(GolfError):
    """A row can't be measured here: a library or an artifact is missing."""


@dataclass(frozen=True)
class Job:
    """limit_bytes: of model and code together; None for a compressor without a prime. minutes: of training; None for
    the time of the default run.
    """

    coder: str
    limit_bytes: int | None
    minutes: float | None = None

    @property
    def key(self) -> str:
        size = "cold" if self.limit_bytes is None else f"{self.limit_bytes}"
        return f"{self.coder}@{size}" + (f"@{self.minutes:g}min" if self.minutes is not None else "")


class Coder(Protocol):
    """One way to code text; several jobs differ in size and training time.

    title: for the table.
    """

    title: str

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        """Everything that the rows depend on, as JSON. Raises UnavailableRowError for what is missing."""

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        """Make the files in ``folder``: settings, dev_bpb, model_bytes, code_bytes, seconds, tune_seconds."""

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        """By mode: bpb, clean_bpb, document_bits and seconds of val."""


class RowCache:
    """Rows as lines of JSON, each with its job's key and digest; the last line of a job counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, digest: str) -> list[Row] | None:
        """The rows of a digest, or None. A line that a killed process left incomplete is skipped."""
        found = None
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["digest"] == digest:
                found = entry["rows"]
        return found

    def add(self, digest: str, rows: list[Row]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_torn = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")
        with open(self._path, "a", encoding="utf-8") as file:
            file.write("\n" * is_torn + json.dumps({"digest": digest, "rows": rows}) + "\n")


def compute_digest(job: Job, inputs: Mapping[str, Any]) -> str:
    return io.sha256_json([job.key, inputs])


def run_job(job: Job, coder: Coder, cache: RowCache, work: Path, command: list[str], run_id: str) -> list[Row]:
    """The rows of a job, from the cache or from its two processes.

    command: starts a child, followed by the phase, the job's key, its folder and the file for its result.
    run_id: names this command; seconds of different commands are not compared.
    """
    title = {"title": coder.title, "coder": job.coder, "limit_bytes": job.limit_bytes, "minutes": job.minutes}
    try:
        digest = compute_digest(job, coder.describe_inputs(job))
    except UnavailableRowError as error:
        return [title | {"status": NOT_RUN, "reason": str(error)}]
    if (rows := cache.find(digest)) is not None:
        return rows
    folder = work / "jobs" / job.key
    phases: dict[str, dict[str, Any]] = {}
    for phase in PHASES:
        path, result_path = folder / f"{phase}.json", folder / f"{phase}.result.json"
        if not path.is_file() or io.read_json(path).get("digest") != digest:
            for later in PHASES[PHASES.index(phase) :]:
                (folder / f"{later}.json").unlink(missing_ok=True)
            outcome = _run_child([*command, phase, job.key, str(folder), str(result_path)], folder / f"{phase}.log")
            if isinstance(outcome, str):
                return [title | {"status": NOT_RUN, "reason": f"{phase} failed: {outcome}"}]
            io.write_json(path, {"digest": digest, "run": run_id, **outcome, "result": io.read_json(result_path)})
        phases[phase] = io.read_json(path)
    built = phases["build"]["result"]
    rows = [
        title
        | {"mode": mode, "status": "ok", "run": phases["score"]["run"], "digest": digest}
        | {key: built[key] for key in ("settings", "dev_bpb", "model_bytes", "code_bytes", "tune_seconds")}
        | {"total_bytes": built["model_bytes"] + built["code_bytes"], "build_seconds": built["seconds"]}
        | {f"{phase}_peak_bytes": phases[phase]["peak_bytes"] for phase in PHASES}
        | {key: result[key] for key in ("bpb", "clean_bpb", "document_bits")}
        | {"score_seconds": result["seconds"]}
        for mode, result in phases["score"]["result"].items()
    ]
    cache.add(digest, rows)
    return rows


def run_phase(coder: Coder, job: Job, phase: str, folder: Path, result_path: Path) -> None:
    """What a child does."""
    if phase == "build":
        io.write_json(result_path, coder.build(job, folder))
    else:
        io.write_json(result_path, coder.score(job, folder))


def _run_child(command: list[str], log_path: Path) -> dict[str, int] | str:
    """Peak memory of the child's largest process in bytes, or why it failed; its output goes into ``log_path``."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == 0:
        return {"peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
    lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else f'exit code {process.returncode}'} ({log_path})"[-_MAX_REASON_CHARS:]


class Stopwatch:
    """Seconds since its start."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()

    def read(self) -> float:
        return round(time.perf_counter() - self._started_at, 3)


def cached_selection(path: Path, inputs: Mapping[str, Any], select: Any) -> dict[str, Any]:
    """``select()``, a JSON object that several jobs share; read from ``path`` if it was made for the same inputs."""
    digest = io.sha256_json(inputs)
    if path.is_file() and (stored := io.read_json(path)).get("digest") == digest:
        return stored["result"]
    result = select()
    io.write_json(path, {"digest": digest, "result": result})
    return result
