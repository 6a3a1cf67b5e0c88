"""The files of a run that the page shows, read by the readers of the other commands; None for what does not exist."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import io, json_records, lineage
from golf.artifacts.json_records import Count, Seconds
from golf.cli import verification
from golf.compliance import verdict
from golf.compression import size_budget
from golf.errors import ArtifactError

__all__ = ["RunFiles", "Table"]

Table = list[dict[str, Any]]
_SCOREBOARD_ROW = {
    "title": str,
    "mode": str,
    "status": str,
    "limit_bytes": Count | None,
    "minutes": float | None,
}
_SCOREBOARD_SCORE = {"total_bytes": Count, "bpb": float}
_EMA_TYPES: dict[str, Any] = {"decay": float, "dev_bpb_raw": float, "dev_bpb": float, "gain": float}
_TRAIN_TYPES: dict[str, Any] = {"steps": Count, "tokens": Count, "seconds": Seconds}
_SIZES_TYPES: dict[str, Any] = dict.fromkeys(
    ("payload_bytes", "code_bytes", "artifact_bytes", "limit_bytes", "headroom_bytes"), Count
)
_EMPTY_TABLE = "empty"  # the header that io.write_csv gives a table without rows


@dataclass(frozen=True)
class RunFiles:
    """folder: the run's ``artifacts``; benchmarks: the folder of the results of benchmarks.

    Each method raises ArtifactError for a file that is damaged or has values out of range.
    """

    folder: Path
    benchmarks: Path

    def read_table(self, name: str, columns: Mapping[str, Callable[[str], Any]]) -> Table | None:
        """Return the rows of a table below the run's folder; None where it is missing or has none."""
        return _read_table(self.folder / name, columns)

    def read_stage(self, stage: str) -> dict[str, Any] | None:
        """Return a stage's run.json, checked where the page shows it."""
        path = self.folder / stage / "run.json"
        return json_records.read_record(path, seconds=Seconds, hardware=str) if path.is_file() else None

    def measure_outputs(self, stage: str) -> int | None:
        """Return the bytes of a stage's outputs; None without any.

        Left out are run.json, which DVC does not track, and metrics.json, which a clone has without the outputs.
        """
        files = [path for path in (self.folder / stage).rglob("*") if path.is_file()]
        outputs = [p for p in files if p.name not in ("run.json", "metrics.json") and not p.name.startswith(".")]
        return sum(path.stat().st_size for path in outputs) if outputs else None

    def name(self, path: str) -> str:
        """Return how the page names a file of the run, wherever the run lies."""
        return f"artifacts/{path}"

    def read_training(self) -> dict[str, Any] | None:
        """Return train's metrics.json: steps, tokens and seconds of the whole training."""
        path = self.folder / "train/metrics.json"
        return json_records.read_record(path, **_TRAIN_TYPES) if path.is_file() else None

    def read_ema(self) -> dict[str, Any] | None:
        path = self.folder / "ema/metrics.json"
        return json_records.read_record(path, **_EMA_TYPES) if path.is_file() else None

    def read_evaluation(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return metrics.json and verdict.json, once they agree with the ledgers and the log of evaluations."""
        path = self.folder / "evaluate/verdict.json"
        if not path.is_file():
            return None
        verification.verify_evaluation(path)
        metrics = json_records.read_record(path.with_name("metrics.json"), **verification.METRICS_TYPES)
        return metrics, verdict.read_verdict(path)

    def is_stale(self, record: Mapping[str, Any]) -> bool:
        """Return whether the run's model.golf exists and is not the one that verdict.json judges."""
        artifact = self.folder / "compress/model.golf"
        return artifact.is_file() and lineage.hash_artifact(artifact) != record["artifact_sha256"]

    def read_sizes(self) -> tuple[dict[str, Any], Table] | None:
        """Return sizes.json, and sizes.csv, which must be that of the artifact beside it."""
        folder = self.folder / "compress"
        if not (folder / "sizes.json").is_file():
            return None
        sizes = json_records.read_record(folder / "sizes.json", **_SIZES_TYPES)
        rows = io.read_csv(folder / "sizes.csv", {"part": str, "bytes": int})
        if (folder / "model.golf").is_file():
            sections = size_budget.measure_sections(folder / "model.golf")
            if rows != size_budget.tabulate_sizes(sections, sizes):
                raise ArtifactError(folder / "sizes.csv", "is not that of model.golf beside it")
        return sizes, rows

    def read_rate_distortion(self) -> tuple[Table, bool] | None:
        """Return the points of ``rate_distortion.csv``, with run, recipe, bytes and ``loss``, and whether that is KL.

        The loss is the divergence from full precision in nats per token where the table has it, else the increase in
        bits per byte, as in tables of earlier versions.
        """
        path = self.benchmarks / "rate_distortion.csv"
        columns: dict[str, Callable[[str], Any]] = {"run": str, "recipe": str, "bytes": io.parse_non_negative_float}
        if not path.is_file():
            return None
        is_kl = b"kl" in path.read_bytes().partition(b"\n")[0].strip().split(b",")
        loss = "kl" if is_kl else "bpb_increase"
        rows = _read_table(path, columns | {loss: io.parse_finite_float})
        return None if rows is None else ([row | {"loss": row[loss]} for row in rows], is_kl)

    def read_scoreboard(self) -> dict[str, Any] | None:
        """Return ``scoreboard.json`` with its rows checked; a row whose status is "ok" has a score."""
        path = self.benchmarks / "scoreboard.json"
        if not path.is_file():
            return None
        board = json_records.read_record(path, corpus=dict, machine=str, rows=list)
        val = json_records.require_keys(path, board["corpus"], {"val": dict}, "corpus")["val"]
        json_records.require_keys(path, val, {"bytes": Count, "documents": Count}, "corpus.val")
        for number, row in enumerate(board["rows"]):
            if not isinstance(row, dict):
                raise ArtifactError(path, f"rows.{number}: must be an object")
            json_records.require_keys(path, row, _SCOREBOARD_ROW, f"rows.{number}")
            if row["status"] == "ok":
                json_records.require_keys(path, row, _SCOREBOARD_SCORE, f"rows.{number}")
        return board


def _read_table(path: Path, columns: Mapping[str, Callable[[str], Any]]) -> Table | None:
    if not path.is_file():
        return None
    if path.stat().st_size < 16 and path.read_bytes().strip() == _EMPTY_TABLE.encode():
        return None
    return io.read_csv(path, columns)
