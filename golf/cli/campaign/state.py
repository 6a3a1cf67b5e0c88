"""campaign.json: what a campaign is, which of its seeds have a score, and which is being run.

The file is sealed with a digest and replaced as a whole, so that an interrupt at any moment leaves the state before or
after a step.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from golf.artifacts import json_records
from golf.artifacts.json_records import Count, PositiveCount, Seconds, Sha256
from golf.cli.campaign import identity
from golf.cli.campaign.identity import Identity
from golf.config.validation import Range
from golf.errors import ArtifactError, InputError

__all__ = [
    "CAMPAIGNS_DIR",
    "STATE_FILE",
    "Campaign",
    "create",
    "describe_known_campaigns",
    "load",
    "load_by_name",
    "require_name",
    "resolve_folder",
]

CAMPAIGNS_DIR = Path("runs/campaigns")  # ignored by Git and DVC, so that no experiment copies it
STATE_FILE = "campaign.json"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}")  # part of a Git reference
_Seed = Annotated[int, Range(low=0, high=2**63 - 1)]
_TYPES = {
    "version": Annotated[int, Range(low=_VERSION, high=_VERSION)],
    "name": str,
    "seeds": tuple[_Seed, ...],
    "named_late": tuple[_Seed, ...],
    "overrides": dict,
    "settings": dict,
    "code": dict,
    "inputs": dict,
    "attempts": dict,
    "current": list,
    "runs": list,
}
_RUN_TYPES = {
    "seed": _Seed,
    "order": PositiveCount,
    "attempts": Count,
    "host": str | None,
    "started_at": str | None,
    "ended_at": str,
    "experiment": str,
    "revision": str,
    "metrics": dict,
    "machines": dict,
    "data": dict,
    "stage_files": dict,
    "documents": dict,
    "ran_stages": tuple[str, ...],
}
_METRICS_TYPES = {  # what the table reads of metrics.json
    "headline": str,
    "verdict": str,
    "comparable_with_fineweb": bool,
    **{f"val_bpb{suffix}": float for suffix in ("", "_plain", "_sliding", "_ttt")},
    "val_loss": float,
    "val_bytes": PositiveCount,
    "val_tokens": PositiveCount,
    "artifact_bytes": Count,
    "limit_bytes": Count,
    "train_seconds": Seconds | None,
    "eval_seconds": Seconds,
}
_DOCUMENTS_TYPES = {"file": str, "sha256": Sha256, "text_sha256": Sha256}
_HINT = "restore the file, or start again under another --name"


@dataclass
class Campaign:
    """A campaign in its folder.

    named_late: seeds that were added when some had a score already. overrides: text by key, as given by ``--set``.
    attempts: how often each seed was started, by seed. current: the experiment that was started last, with seed, pid
    and creation time of its process and started_at; at most one. runs: a record for each seed with a score, in the
    order in which they ended.
    """

    folder: Path
    name: str
    seeds: list[int]
    identity: Identity
    overrides: dict[str, str]
    named_late: list[int] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    current: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def data(self) -> dict[str, str] | None:
        """The md5 of what fetch wrote, by path; None before the first score."""
        return self.runs[0]["data"] if self.runs else None

    @property
    def missing_seeds(self) -> list[int]:
        """The seeds without a score, in the given order."""
        return [seed for seed in self.seeds if self.find_run(seed) is None]

    def find_run(self, seed: int) -> dict[str, Any] | None:
        """Return the record of a seed's run."""
        return next((run for run in self.runs if run["seed"] == seed), None)

    def make_experiment_name(self, seed: int) -> str:
        """Return the name of a seed's experiment, which no other settings, code or inputs have."""
        return f"{self.name}-seed{seed}-{self.identity.digest[:8]}"

    def extend(self, seeds: Sequence[int]) -> None:
        """Add new seeds. Raises InputError when ``seeds`` leaves out one that the campaign has."""
        if dropped := [seed for seed in self.seeds if seed not in seeds]:
            all_seeds = " ".join(map(str, self.seeds))
            raise InputError(
                f"--seeds: campaign {self.name} also has {', '.join(map(str, dropped))}, and a seed is not left out of "
                f"a campaign; give --seeds {all_seeds}, with new ones if you like, or another --name"
            )
        new = [seed for seed in seeds if seed not in self.seeds]
        self.seeds += new
        self.named_late += new if self.runs else []

    def require_identity(self, current: Identity) -> None:
        """Raise InputError that names the first key in which the current folder differs from the campaign."""
        difference = (
            identity.find_difference("setting", self.identity.settings, current.settings)
            or identity.find_difference("code", self.identity.code, current.code)
            or identity.find_difference("input", self.identity.inputs, current.inputs)
        )
        if difference:
            raise InputError(
                f"campaign {self.name} is not mixed with other settings, code or data: {difference} (campaign and now)"
                f"; restore it, or give another --name"
            )

    def save(self) -> None:
        """Write campaign.json."""
        body = {
            "version": _VERSION,
            "name": self.name,
            "seeds": self.seeds,
            "named_late": self.named_late,
            "overrides": self.overrides,
            **dataclasses.asdict(self.identity),
            "attempts": self.attempts,
            "current": self.current,
            "runs": self.runs,
        }
        json_records.write_sealed(self.folder / STATE_FILE, body)


def create(name: str, seeds: Sequence[int], current: Identity, overrides: Mapping[str, str]) -> Campaign:
    """Return a new campaign; nothing is written. Raises InputError for a name that Git would refuse."""
    require_name(name)
    return Campaign(CAMPAIGNS_DIR / name, name, list(seeds), current, dict(overrides))


def require_name(name: str) -> None:
    """Raise InputError unless a campaign can have this name."""
    if not _NAME.fullmatch(name):
        raise InputError(f"--name: must be 1 to 61 letters, digits, - and _, got {name!r:.80}")


def load(folder: Path) -> Campaign:
    """Read a campaign. Raises ArtifactError."""
    path = folder / STATE_FILE
    try:
        record = json_records.read_sealed(path, **_TYPES)
    except ArtifactError as error:
        raise ArtifactError(path, error.problem, _HINT) from None
    runs = [
        json_records.require_keys(path, run, _RUN_TYPES, f"runs[{index}]", _HINT)
        for index, run in enumerate(_require_objects(path, "runs", record["runs"]))
    ]
    for index, run in enumerate(runs):
        json_records.require_keys(path, run["metrics"], _METRICS_TYPES, f"runs[{index}].metrics", _HINT)
        json_records.require_keys(path, run["documents"], _DOCUMENTS_TYPES, f"runs[{index}].documents", _HINT)
    return Campaign(
        folder=folder,
        name=record["name"],
        seeds=list(record["seeds"]),
        identity=Identity(record["settings"], record["code"], record["inputs"]),
        overrides=record["overrides"],
        named_late=list(record["named_late"]),
        attempts=record["attempts"],
        current=_require_objects(path, "current", record["current"]),
        runs=runs,
    )


def _require_objects(path: Path, key: str, items: list[Any]) -> list[dict[str, Any]]:
    if not all(isinstance(item, dict) for item in items):
        raise ArtifactError(path, f"{key}: must be a list of objects", _HINT)
    return items


def resolve_folder(name: str) -> Path | None:
    """Return the folder of a campaign that is given by its name or its folder; None if there is none."""
    candidates = ([CAMPAIGNS_DIR / name] if _NAME.fullmatch(name) else []) + [Path(name)]
    return next((folder for folder in candidates if (folder / STATE_FILE).is_file()), None)


def load_by_name(source: str, option: str) -> Campaign:
    """Return the campaign that ``source`` names or whose folder it is. option: that gave it, for messages.

    Raises InputError if there is none, ArtifactError for a damaged campaign.json.
    """
    folder = resolve_folder(source)
    if folder is None:
        raise InputError(
            f"{option}: {source!r:.80} is no campaign; its folder would hold {STATE_FILE}; {describe_known_campaigns()}"
        )
    return load(folder)


def describe_known_campaigns() -> str:
    """Return which campaigns the current folder has, for messages."""
    names = sorted(path.parent.name for path in CAMPAIGNS_DIR.glob(f"*/{STATE_FILE}"))
    return f"the campaigns here are {', '.join(names)}" if names else "there is no campaign here"
