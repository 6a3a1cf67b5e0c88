"""Where the cases are tried: a finished run, the honest predictor's artifact in it, and evaluate."""

import contextlib
import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import thimble as project
import torch

from gallery import honest
from gallery.case import ARTIFACT, TRAIN
from golf.data import shards
from golf.ground import lineage, store
from golf.rules.finding import Finding

KEYS = ("check", "status", "measured", "limit", "note")


@dataclass(frozen=True)
class Outcome:
    """headline: of the verdict; "" where there is none. findings: by the name of their check. figures: metrics.json."""

    headline: str
    findings: dict[str, Finding]
    figures: dict

    def with_status(self, status: str) -> list[Finding]:
        return [each for each in self.findings.values() if each.status == status]


def lay_out(finished: Path, folder: Path) -> Path:
    """A finished run with the gallery's code and an artifact of the honest predictor. Copy it, change nothing."""
    project.copy(finished, folder)
    shutil.copytree(Path(__file__).parent, folder / "gallery", ignore=shutil.ignore_patterns("__pycache__"))
    project.turn(folder, {"compress.limit_bytes": 1_000_000})
    with contextlib.chdir(folder):  # lineage names paths from there
        fit(TRAIN)
    return folder


def fit(split: str) -> None:
    """Write the honest predictor of a split's text, with its lineage, in the current folder."""
    made = shards.open_split(split)
    counts = np.full((made.vocabulary, made.vocabulary), 0.1)
    tokens = made.all()
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    table = torch.from_numpy(honest.normalised(np.log(counts)).astype(np.float32))
    origin = lineage.of("train", {"train": split}, seed=1)
    store.save_tensors(ARTIFACT, {"table": table}, kind=honest.KIND, meta={"lineage": origin})


def try_case(name: str, place: Path) -> Outcome:
    """What is found of the case in ``gallery.<name>``, in ``place``, a copy of ``lay_out``'s and the current folder."""
    module = importlib.import_module(f"gallery.{name}")
    project.turn(place, module.CASE.settings)
    if method := getattr(module, "Method", None):
        project.turn(
            place, {"evaluate.method": f"{method.__module__}:{method.__name__}", "evaluate.artifact": ARTIFACT}
        )
    if hasattr(module, "arrange"):
        module.arrange(place)
    if hasattr(module, "examine"):
        return Outcome("", {each.check: each for each in module.examine(place)}, {})
    return evaluate()


def evaluate() -> Outcome:
    """The stage's own main, in this process, and what it wrote into the current folder."""
    project.act("evaluate")
    tree = store.read_json("artifacts/evaluate/verdict.json")
    rows = [Finding(*(row[key] for key in KEYS)) for row in tree["checks"]]
    return Outcome(
        tree["verdict"], {row.check: row for row in rows}, store.read_json("artifacts/evaluate/metrics.json")
    )
