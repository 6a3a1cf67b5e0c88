"""What the files around an artifact say of how it came to be, read once for all checks."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from golf.codec import container
from golf.ground import ancestry, lineage, schema, sections, store
from golf.ground.errors import BadArtifact

NUMBER = int | float  # in JSON


@dataclass(frozen=True)
class Told:
    """One file's origin. splits: those that influenced it, as it says itself and as its inputs show; chain: how val
    reached it; seeds: of all stages behind it; understated: files whose lineage leaves out a split that their inputs
    show. A file without lineage has "unknown" among its splits, beside those that a .golf file names in its header.
    """

    splits: tuple[str, ...]
    chain: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    understated: tuple[str, ...] = ()

    @classmethod
    def of(cls, path) -> "Told":
        """Raises BadArtifact when its lineage, or that of something it was made from, was edited."""
        if Path(path).suffix == ".safetensors" and somebodys(path):
            return cls((lineage.UNKNOWN,))
        top = ancestry.walk(path)
        if top.lineage is None:
            seen = container.seen(path) if Path(path).suffix == ".golf" else ()
            return cls((*seen, lineage.UNKNOWN))
        return cls(
            tuple(sorted(top.seen, key=lineage.SPLITS.index)),
            tuple(ancestry.chain("val", top)),
            tuple(top.lineage["seeds"]),
            tuple(ancestry.understated(top)),
        )


def somebodys(path) -> bool:
    """Whether a whole tensor file was written by another program: it has no label of ours, and so no lineage."""
    try:
        with safe_open(path, framework="np") as file:
            return "golf" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True)
class Plan:
    """plan.json but for its lineage: the parameters of score-first adaptation, and the splits they were tried on."""

    ttt: sections.Ttt
    splits_seen: tuple[str, ...]


def read_plan(path, context: int) -> sections.Ttt:
    """Raises BadArtifact naming what is wrong in it, or when it is for windows of another context than ``context``."""
    tree = told(path, lineage=dict)
    made, problems = schema.build(Plan, {key: value for key, value in tree.items() if key != "lineage"}, "")
    if problems:
        raise BadArtifact(path, "; ".join(problems), store.RERUN)
    for key in ("chunk_tokens", "batch_tokens"):
        if getattr(made.ttt, key) % context:
            problem = f"belongs to another configuration: model.context {context} does not divide its {key}"
            raise BadArtifact(path, problem, "run dvc repro")
    return made.ttt


@dataclass(frozen=True)
class Clock:
    """Seconds that count as training, their limit (None: none was set), and what they were measured on."""

    seconds: float
    limit: float | None
    hardware: str

    @classmethod
    def read(cls, train, *others) -> "Clock":
        """The sum over all stages that touch training text; raises BadArtifact naming the keys that a file lacks."""
        first = told(train, train_seconds=NUMBER, limit_seconds=NUMBER | None, hardware=str)
        seconds = first["train_seconds"] + sum(told(path, train_seconds=NUMBER)["train_seconds"] for path in others)
        return cls(round(seconds, 3), first["limit_seconds"], first["hardware"])


def told(path, **types) -> dict:
    """What an earlier stage says of itself in a small JSON file. Raises BadArtifact naming keys that it lacks, or that
    are of another type.
    """
    return expect(path, store.read_json(path), **types)


def expect(path, found: dict, **types) -> dict:
    """``found`` in the file at ``path``, once it has these keys, each of its type. Raises BadArtifact."""
    missing = [key for key in types if key not in found]
    if missing:
        raise BadArtifact(path, f"lacks {', '.join(missing)}", store.RERUN)
    wrong = [f"{key}: got {found[key]!r}" for key, kind in types.items() if not isinstance(found[key], kind)]
    if wrong:
        raise BadArtifact(path, "; ".join(wrong), store.RERUN)
    return found


def expect_weighed(sizes, **files) -> None:
    """files: the payload, the code. Raises BadArtifact when one is not the file whose sha256 stands in sizes.json."""
    recorded = told(sizes, **{f"{kind}_sha256": str for kind in files})
    for kind, path in files.items():
        if not Path(path).is_file():
            raise BadArtifact(path, "not found", store.RERUN)
        if lineage.file_digest(path) != recorded[f"{kind}_sha256"]:
            problem = f"is not the file that compress weighed: {Path(path).stat().st_size:,} bytes of another sha256"
            raise BadArtifact(path, problem, "run compress again")


@dataclass(frozen=True)
class Case:
    """What is known of an artifact before it is scored. plan: how the ttt way learns. origin: the artifact's; tried:
    the plan's; clock: None where nobody measured the training.
    """

    plan: sections.Ttt
    origin: Told
    tried: Told
    clock: Clock | None

    @classmethod
    def own(cls, artifact, code, sizes, plan, context: int, *clocks) -> "Case":
        """Of the pipeline's artifact. Raises BadArtifact when these files don't belong together."""
        ttt = read_plan(plan, context)
        expect_weighed(sizes, payload=artifact, code=code)
        return cls(ttt, Told.of(artifact), Told.of(plan), Clock.read(*clocks))

    @classmethod
    def foreign(cls, artifact, plan, ttt: sections.Ttt, context: int) -> "Case":
        """Of an artifact from elsewhere: its lineage where it has one; without a plan.json, params.yaml's ttt."""
        if Path(plan).is_file():
            return cls(read_plan(plan, context), Told.of(artifact), Told.of(plan), None)
        return cls(ttt, Told.of(artifact), Told((lineage.UNKNOWN,)), None)

    def caveat(self, way: str) -> str:
        """What must stand beside a score of this artifact, before anything else is known."""
        if "val" in self.origin.splits:
            return " (invalid: val is upstream of the artifact)"
        return " (invalid: the plan was tried on val)" if way == "ttt" and "val" in self.tried.splits else ""
