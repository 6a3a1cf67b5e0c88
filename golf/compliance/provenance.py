"""Where an artifact and its TTT plan come from: origins by lineage, training time, and the files that record them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from golf.artifacts import json_records, lineage, lineage_graph
from golf.artifacts.json_records import Seconds, Sha256
from golf.compression import reader
from golf.config import sections, validation
from golf.config.adaptation import TTTPlan
from golf.errors import ArtifactError

__all__ = ["ArtifactProvenance", "Origin", "TrainingTime", "read_plan"]

_PLAN_HINT = "set ttt and memory in params.yaml and run: dvc repro ttt"


@dataclass(frozen=True)
class Origin:
    """Where one file comes from.

    splits: the data splits that influenced it, according to its own lineage and to that of its inputs. A file without
    lineage has "unknown" among them, beside those that a .golf file names in its header.
    path_from_val: the files by which val reached it; empty if it did not. seeds: of all stages behind it.
    underreported: files behind it whose lineage leaves out a split that their inputs show.
    """

    splits: tuple[str, ...]
    path_from_val: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    underreported: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, path: str | Path) -> "Origin":
        """Read a file's origin. Raises ArtifactError when its lineage, or that of a file that made it, was edited."""
        if Path(path).suffix == ".safetensors" and _is_foreign(path):
            return cls((lineage.UNKNOWN_SPLIT,))
        root_node = lineage_graph.load_graph(path)
        if root_node.lineage is None:
            header_splits = reader.read_packed(path)[0].upstream_splits if Path(path).suffix == ".golf" else ()
            return cls((*header_splits, lineage.UNKNOWN_SPLIT))
        return cls(
            tuple(sorted(root_node.upstream_splits, key=lineage.DATA_SPLITS_OR_UNKNOWN.index)),
            tuple(lineage_graph.find_path_from_split("val", root_node)),
            tuple(root_node.lineage["seeds"]),
            tuple(lineage_graph.find_underreported_splits(root_node)),
        )


def _is_foreign(path: str | Path) -> bool:
    """Whether a readable safetensors file was written by another program: it lacks golf's header, so has no lineage."""
    try:
        with safe_open(path, framework="np") as file:
            return "golf" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True)
class _PlanFile:
    """plan.json without its lineage: how the ttt mode adapts, and the splits that these parameters were tried on."""

    ttt: TTTPlan
    memory: sections.MemoryConfig
    splits_seen: tuple[str, ...]


def read_plan(plan_path: str | Path, context_length: int) -> tuple[TTTPlan, sections.MemoryConfig]:
    """Read the sections ttt and memory in plan.json.

    Raises ArtifactError for a file of another form, one whose parameters are not those in its lineage, or one whose
    chunks are no multiples of ``context_length``.
    """
    record = json_records.read_record(plan_path, lineage=dict)
    plan, problems = validation.from_mapping(
        _PlanFile, {key: value for key, value in record.items() if key != "lineage"}, ""
    )
    if problems:
        raise ArtifactError(plan_path, "; ".join(problems))
    origin = lineage.validate(record["lineage"], plan_path)
    if origin["parameters"] != lineage.hash_parameters(plan.ttt, plan.memory):
        problem = "ttt and memory are not the parameters that its lineage has the digest of: the file was edited"
        raise ArtifactError(plan_path, problem, _PLAN_HINT)
    ttt_cfg: TTTPlan = plan.ttt
    for key in ("chunk_tokens", "batch_tokens"):
        if getattr(ttt_cfg, key) % context_length:
            problem = (
                f"was made with another configuration: its {key} is {getattr(ttt_cfg, key)}, "
                f"no multiple of model.context_length {context_length}"
            )
            raise ArtifactError(plan_path, problem)
    return ttt_cfg, plan.memory


@dataclass(frozen=True)
class TrainingTime:
    """Seconds that count as training, their limit (None: no limit was set) and the hardware they were measured on."""

    seconds: float
    limit_s: float | None
    hardware: str

    @classmethod
    def read(cls, train_path: str | Path, *other_paths: str | Path) -> "TrainingTime":
        """Sum the seconds of all stages that touch training text, from train's timing.json and those of the others.

        Raises ArtifactError naming a missing, mistyped or out-of-range key, or a file that was edited.
        """
        train_record = json_records.read_sealed(
            train_path, train_seconds=Seconds, limit_seconds=Seconds | None, hardware=str
        )
        seconds = train_record["train_seconds"] + sum(
            json_records.read_sealed(path, train_seconds=Seconds)["train_seconds"] for path in other_paths
        )
        return cls(round(seconds, 3), train_record["limit_seconds"], train_record["hardware"])


def _require_recorded_sha256(sizes_path: str | Path, **files: str | Path) -> None:
    """files: ``payload``, ``code``, ``bundle``. Raises ArtifactError for one without the sha256 in sizes.json."""
    recorded = json_records.read_sealed(sizes_path, **{f"{kind}_sha256": Sha256 for kind in files})
    for kind, path in files.items():
        if not Path(path).is_file():
            raise ArtifactError(path, "not found")
        if lineage.hash_artifact(path) != recorded[f"{kind}_sha256"]:
            problem = f"is not the file that compress weighed: {Path(path).stat().st_size:,} bytes of another sha256"
            raise ArtifactError(path, problem)


@dataclass(frozen=True)
class ArtifactProvenance:
    """Known origin of an artifact before scoring.

    ttt_cfg, memory_cfg: how the ttt mode adapts. origin, plan_origin: of the artifact and of plan.json. training_time:
    None when the training was not measured here.
    """

    ttt_cfg: TTTPlan
    memory_cfg: sections.MemoryConfig
    origin: Origin
    plan_origin: Origin
    training_time: TrainingTime | None

    @property
    def plan(self) -> dict[str, Any]:
        """How the ttt mode adapts: the sections ttt and memory."""
        return {"ttt": dataclasses.asdict(self.ttt_cfg), "memory": dataclasses.asdict(self.memory_cfg)}

    @classmethod
    def from_pipeline(
        cls,
        artifact_path: str | Path,
        code_path: str | Path,
        bundle_path: str | Path,
        sizes_path: str | Path,
        plan_path: str | Path,
        context_length: int,
        *timing_paths: str | Path,
    ) -> "ArtifactProvenance":
        """Read that of the pipeline's own artifact. Raises ArtifactError when these files do not belong together."""
        settings = read_plan(plan_path, context_length)
        _require_recorded_sha256(sizes_path, payload=artifact_path, code=code_path, bundle=bundle_path)
        return cls(
            *settings, Origin.from_file(artifact_path), Origin.from_file(plan_path), TrainingTime.read(*timing_paths)
        )

    @classmethod
    def from_external(
        cls,
        artifact_path: str | Path,
        plan_path: str | Path,
        default_settings: tuple[TTTPlan, sections.MemoryConfig],
        context_length: int,
    ) -> "ArtifactProvenance":
        """Read that of an artifact from elsewhere, which may have a lineage.

        default_settings: used without a plan.json.
        """
        origin = Origin.from_file(artifact_path)
        if Path(plan_path).is_file():
            return cls(*read_plan(plan_path, context_length), origin, Origin.from_file(plan_path), None)
        return cls(*default_settings, origin, Origin((lineage.UNKNOWN_SPLIT,)), None)

    def disclaimer(self, mode: str) -> str:
        """Return the text beside a score of this artifact before the verdict; "" when provenance shows no fault."""
        if "val" in self.origin.splits:
            return "invalid: val is upstream of the artifact"
        return "invalid: the plan was tried on val" if mode == "ttt" and "val" in self.plan_origin.splits else ""
