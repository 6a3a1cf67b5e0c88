"""What the files around an artifact say of how it came to be, read once for all checks."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from golf.artifacts import io, lineage, lineage_graph
from golf.compression import reader
from golf.config import sections, validation
from golf.errors import ArtifactError

_NUMBER = int | float  # in JSON


@dataclass(frozen=True)
class Origin:
    """One file's origin. splits: those that influenced it, as it says itself and as its inputs show; chain: how val
    reached it; seeds: of all stages behind it; understated: files whose lineage leaves out a split that their inputs
    show. A file without lineage has "unknown" among its splits, beside those that a .golf file names in its header.
    """

    splits: tuple[str, ...]
    path_from_val: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    underreported: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, path) -> "Origin":
        """Raises BadArtifact when its lineage, or that of something it was made from, was edited."""
        if Path(path).suffix == ".safetensors" and _is_foreign(path):
            return cls((lineage.UNKNOWN_SPLIT,))
        root_node = lineage_graph.load_graph(path)
        if root_node.lineage is None:
            header_splits = reader.read_upstream_splits(path) if Path(path).suffix == ".golf" else ()
            return cls((*header_splits, lineage.UNKNOWN_SPLIT))
        return cls(
            tuple(sorted(root_node.upstream_splits, key=lineage.DATA_SPLITS_OR_UNKNOWN.index)),
            tuple(lineage_graph.path_from_split("val", root_node)),
            tuple(root_node.lineage["seeds"]),
            tuple(lineage_graph.underreported_splits(root_node)),
        )


def _is_foreign(path) -> bool:
    """Whether a whole tensor file was written by another program: it has no label of ours, and so no lineage."""
    try:
        with safe_open(path, framework="np") as file:
            return "golf" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True)
class _PlanFile:
    """plan.json but for its lineage: the parameters of score-first adaptation, and the splits they were tried on."""

    ttt: sections.TTTConfig
    splits_seen: tuple[str, ...]


def read_plan(plan_path, context_length: int) -> sections.TTTConfig:
    """Raises BadArtifact naming what is wrong in it, or when it is for windows of another context than ``context``."""
    record = read_typed(plan_path, lineage=dict)
    plan, problems = validation.from_mapping(
        _PlanFile, {key: value for key, value in record.items() if key != "lineage"}, ""
    )
    if problems:
        raise ArtifactError(plan_path, "; ".join(problems), io.RERUN_HINT)
    for key in ("chunk_tokens", "batch_tokens"):
        if getattr(plan.ttt, key) % context_length:
            problem = (
                f"belongs to another configuration: model.context_length {context_length} does not divide its {key}"
            )
            raise ArtifactError(plan_path, problem, "run dvc repro")
    return plan.ttt


@dataclass(frozen=True)
class TrainingTime:
    """Seconds that count as training, their limit (None: none was set), and what they were measured on."""

    seconds: float
    limit_s: float | None
    hardware: str

    @classmethod
    def read(cls, train_path, *other_paths) -> "TrainingTime":
        """The sum over all stages that touch training text; raises BadArtifact naming the keys that a file lacks."""
        train_record = read_typed(train_path, train_seconds=_NUMBER, limit_seconds=_NUMBER | None, hardware=str)
        seconds = train_record["train_seconds"] + sum(
            read_typed(path, train_seconds=_NUMBER)["train_seconds"] for path in other_paths
        )
        return cls(round(seconds, 3), train_record["limit_seconds"], train_record["hardware"])


def read_typed(path, **types) -> dict:
    """What an earlier stage says of itself in a small JSON file. Raises BadArtifact naming keys that it lacks, or that
    are of another type.
    """
    return require_keys(path, io.read_json(path), **types)


def require_keys(path, record: dict, **types) -> dict:
    """``found`` in the file at ``path``, once it has these keys, each of its type. Raises BadArtifact."""
    missing = [key for key in types if key not in record]
    if missing:
        raise ArtifactError(path, f"lacks {', '.join(missing)}", io.RERUN_HINT)
    mismatches = [f"{key}: got {record[key]!r}" for key, kind in types.items() if not isinstance(record[key], kind)]
    if mismatches:
        raise ArtifactError(path, "; ".join(mismatches), io.RERUN_HINT)
    return record


def _require_recorded_sha256(sizes_path, **files) -> None:
    """files: the payload, the code. Raises BadArtifact when one is not the file whose sha256 stands in sizes.json."""
    recorded = read_typed(sizes_path, **{f"{kind}_sha256": str for kind in files})
    for kind, path in files.items():
        if not Path(path).is_file():
            raise ArtifactError(path, "not found", io.RERUN_HINT)
        if lineage.artifact_sha256(path) != recorded[f"{kind}_sha256"]:
            problem = f"is not the file that compress weighed: {Path(path).stat().st_size:,} bytes of another sha256"
            raise ArtifactError(path, problem, "run compress again")


@dataclass(frozen=True)
class ArtifactContext:
    """What is known of an artifact before it is scored. plan: how the ttt way learns. origin: the artifact's; tried:
    the plan's; clock: None where nobody measured the training.
    """

    ttt_cfg: sections.TTTConfig
    origin: Origin
    plan_origin: Origin
    training_time: TrainingTime | None

    @classmethod
    def from_pipeline(
        cls, artifact_path, code_path, sizes_path, plan_path, context_length: int, *timing_paths
    ) -> "ArtifactContext":
        """Of the pipeline's artifact. Raises BadArtifact when these files don't belong together."""
        ttt_cfg = read_plan(plan_path, context_length)
        _require_recorded_sha256(sizes_path, payload=artifact_path, code=code_path)
        return cls(
            ttt_cfg, Origin.from_file(artifact_path), Origin.from_file(plan_path), TrainingTime.read(*timing_paths)
        )

    @classmethod
    def from_external(
        cls, artifact_path, plan_path, ttt_cfg: sections.TTTConfig, context_length: int
    ) -> "ArtifactContext":
        """Of an artifact from elsewhere: its lineage where it has one; without a plan.json, params.yaml's ttt."""
        if Path(plan_path).is_file():
            return cls(
                read_plan(plan_path, context_length), Origin.from_file(artifact_path), Origin.from_file(plan_path), None
            )
        return cls(ttt_cfg, Origin.from_file(artifact_path), Origin((lineage.UNKNOWN_SPLIT,)), None)

    def disclaimer(self, mode: str) -> str:
        """What must stand beside a score of this artifact, before anything else is known."""
        if "val" in self.origin.splits:
            return " (invalid: val is upstream of the artifact)"
        return " (invalid: the plan was tried on val)" if mode == "ttt" and "val" in self.plan_origin.splits else ""
