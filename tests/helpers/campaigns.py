"""Campaigns without DVC: a folder with settings and code, and experiments that write what a run would leave."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from golf.artifacts import io
from golf.cli import verification
from golf.evaluation import bpb
from golf.evaluation.ledger import Ledger
from tests.helpers.tiny_corpus import ROOT

BPB_BY_SEED = {42: 1.0801, 314: 1.0803, 999: 1.0808, 7: 1.0799}
_BYTES_BY_DOCUMENT = (100, 300, 50, 200)
_OUTS = {
    "fetch": ("train", "dev", "val", "tokenizer.model"),
    "train": ("model.safetensors",),
    "ema": ("model.safetensors",),
    "compress": ("model.golf",),
}
_OTHER_METRICS = {
    "verdict": "valid",
    "invalid_modes": "",
    "headline": "ttt",
    "comparable_with_fineweb": True,
    "code_counted": "predictor",
}


def create_project(folder: Path) -> Path:
    """A folder with params.yaml and the code of one stage."""
    (folder / "stages").mkdir(parents=True)
    (folder / "stages/fetch.py").write_text("STEPS = 1\n", encoding="utf-8")
    (folder / "params.yaml").write_bytes((ROOT / "profiles/laptop.yaml").read_bytes())
    return folder


def make_ledger(mode: str, bpb_value: float, seed: int) -> Ledger:
    """A ledger of a fixed text with this bpb up to float32, whose documents vary by seed."""
    n_bytes = np.array(_BYTES_BY_DOCUMENT)
    weights = n_bytes * np.random.default_rng(seed).uniform(0.9, 1.1, len(n_bytes))
    nll = weights / weights.sum() * bpb_value * np.log(2) * n_bytes.sum()
    ledger = Ledger(mode, bos=1)
    tokens = np.array([1, 5, 1, 1, 1])
    ledger.append(tokens, nll, n_bytes, is_last=True)
    return ledger


class FakeExperiments:
    """Runs experiments in no time. Its attributes say what happens; ``started`` lists the seeds that were started.

    before: called with the seed of an experiment that starts, and may raise. exit_code: of the next experiments.
    metrics: overrides of metrics.json. md5s: of outputs, by path. scores: bpb by seed. untracked: files.
    ran_stages: those that do not come from the cache.
    """

    def __init__(self, scores: Mapping[int, float] = BPB_BY_SEED) -> None:
        self.scores = dict(scores)
        self.started: list[int] = []
        self.overrides: list[dict[str, str]] = []
        self.finished: dict[str, dict[str, bytes]] = {}
        self.before: Callable[[int], None] = lambda seed: None
        self.exit_code = 0
        self.metrics: dict[str, object] = {}
        self.md5s: dict[str, str] = {}
        self.untracked: list[str] = []
        self.ran_stages = ["train", "evaluate"]

    def find_untracked(self, *paths: str) -> list[str]:
        return self.untracked

    def find(self, name: str) -> list[str]:
        return [name] * (name in self.finished)

    def run(self, name: str, overrides: Mapping[str, str], log: Path, on_start: Callable[[int], None]) -> int:
        seed = int(overrides["train.seed"])
        self.started.append(seed)
        self.overrides.append(dict(overrides))
        on_start(1 << 30)  # no process has this number
        self.before(seed)
        log.write_text("".join(f"Running stage '{stage}':\n" for stage in self.ran_stages), encoding="utf-8")
        if not self.exit_code:
            self.finished[name] = self.make_files(overrides, log.parent)
        return self.exit_code

    def open(self, revision: str) -> "FakeFiles":
        return FakeFiles(self.finished[revision])

    def make_files(self, overrides: Mapping[str, str], scratch: Path) -> dict[str, bytes]:
        """The files of a run with these settings."""
        seed = int(overrides["train.seed"])
        params = Path("params.yaml").read_text(encoding="utf-8")
        for dotted, text in overrides.items():
            section, key = dotted.split(".")
            params, n_changes = re.subn(rf"(?m)(^{section}:(?:\n .*|\n)*?\n  {key}:) [^\n]*", rf"\1 {text}", params)
            assert n_changes == 1, dotted
        paths = [f"artifacts/{stage}/{name}" for stage, names in _OUTS.items() for name in names]
        outs = [{"path": path, "md5": self.md5s.get(path, hashlib.md5(path.encode()).hexdigest())} for path in paths]
        lock = {"schema": "2.0", "stages": {"all": {"outs": outs}}}
        machine = {"hardware": "2 × CPU core (x86_64)", "cpu_load": {}, "packages": {"torch": "2.13.0"}}
        files = {path.as_posix(): path.read_bytes() for path in Path("stages").glob("*.py")}
        files |= {"params.yaml": params.encode(), "dvc.lock": json.dumps(lock).encode()}
        files |= {f"artifacts/{stage}/run.json": io.encode_json(machine) for stage in ("train", "evaluate")}
        metrics = dict.fromkeys(verification.METRICS_TYPES, 1) | _OTHER_METRICS | {"train_seconds": 588.0}
        for mode, increase in {"plain": 0.02, "sliding": 0.01, "ttt": 0.0}.items():
            ledger = make_ledger(mode, self.scores[seed] + increase, seed)
            score = bpb.compute_score(ledger.to_data())
            ledger.save(scratch / "ledger.tmp")
            files[f"artifacts/evaluate/ledgers/{mode}.safetensors"] = (scratch / "ledger.tmp").read_bytes()
            metrics |= {f"val_bpb_{mode}": score.bpb, "val_bpb": score.bpb, "val_loss": score.loss}
        (scratch / "ledger.tmp").unlink()
        metrics |= {"val_bytes": sum(_BYTES_BY_DOCUMENT), "val_tokens": len(_BYTES_BY_DOCUMENT)} | self.metrics
        files["artifacts/evaluate/metrics.json"] = io.encode_json(metrics)
        return files


class FakeFiles:
    """The files of a fake experiment."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def copy(self, path: str, destination: Path) -> None:
        destination.write_bytes(self.read(path))
