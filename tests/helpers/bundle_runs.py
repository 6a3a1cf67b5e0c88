"""What the stages leave of a run that a submission folder is written from, and how its script is run alone."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io, json_records
from golf.config import loader
from golf.evaluation import ledger
from golf.submission.bundle import packing
from tests.helpers.file_tree import write_files
from tests.helpers.programs import run_script_alone
from tests.helpers.submission_folders import VAL_TOKENS, nats_per_token
from tests.helpers.tiny_corpus import ROOT

RECORD = dataclasses.asdict(loader.load_config(ROOT / "profiles" / "record.yaml"))
SOURCES = {packing.DRIVER: "import torch\ndef main(settings):\n    print(torch, settings)\n"}
SOURCE = {
    "kind": "hub",
    "repo": "owner/name",
    "commit": "0123456789abcdef",
    "variant": "sp8192",
    "files": {"datasets/tokenizers/fineweb_8192_bpe.model": "a" * 64},
}
MODEL_BYTES = 15_900_000
_BPB_BY_MODE = {"plain": 1.1005, "sliding": 1.0905}


def write_run(folder: Path, seed: int, bpb: float, *, is_evaluated: bool = True, **changes: Any) -> Path:
    """The artifacts of a record run below ``folder``; returns it. changes: of the settings, as train__steps."""
    settings = {name: dict(RECORD[name]) for name in packing.SECTIONS}
    settings["train"]["seed"] = seed
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        settings[section][key] = value
    out = folder / "artifacts"
    script = packing.pack_bundle(settings, write_files(folder, SOURCES))
    io.write_bytes(out / "compress/bundle.pyz", script)
    sizes = {"payload_bytes": MODEL_BYTES, "payload_sha256": "a" * 64}
    json_records.write_sealed(
        out / "compress/sizes.json", sizes | {"bundle_sha256": io.sha256_file(out / "compress/bundle.pyz")}
    )
    hardware = "8 × NVIDIA H100 80GB HBM3"
    json_records.write_sealed(out / "train/timing.json", {"train_seconds": 587.5, "hardware": hardware})
    json_records.write_sealed(out / "calibrate/timing.json", {"train_seconds": 11.25})
    io.write_json(out / "train/metrics.json", {"steps": 4550})
    io.write_csv(out / "train/log.csv", [{"step": 10, "seconds": 1.5, "loss": 3.25}])
    io.write_csv(out / "train/dev.csv", [{"step": 4550, "seconds": 587.5, "dev_loss": 2.5}])
    for split in ("train", "val"):
        io.write_json(out / f"fetch/{split}/index.json", {"shards": [{}] * 80})
    json_records.write_sealed(out / "fetch/manifest.json", {"source": SOURCE})
    if is_evaluated:
        _write_evaluation(out / "evaluate", bpb)
    return folder


def _write_evaluation(folder: Path, bpb: float) -> None:
    scores = {f"val_bpb_{mode}": score for mode, score in (_BPB_BY_MODE | {"ttt": bpb}).items()}
    metrics = scores | {f"seconds_{mode}": 90.0 for mode in ("plain", "sliding", "ttt")}
    metrics |= {"headline": "ttt", "val_bpb": bpb, "val_loss": nats_per_token(bpb), "val_tokens": VAL_TOKENS}
    metrics |= {"comparable_with_fineweb": True, "eval_seconds": 366.5, "verdict": "record-eligible"}
    io.write_json(folder / "metrics.json", metrics)
    rows = [{"check": "C1-a", "status": "PASS"}, {"check": "B-e", "status": "NOT-RUN"}]
    io.write_json(folder / "verdict.json", {"artifact_sha256": "a" * 64, "checks": rows})


def run_script(folder: Path, fetched: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the script in ``folder``, where golf and the packages that it must not need can't be imported."""
    paths = {"DATA_PATH": str(fetched), "TOKENIZER_PATH": str(fetched / "tokenizer.model")}
    command = [sys.executable, "-I", run_script_alone.__file__, packing.SCRIPT_NAME, *arguments]
    env = os.environ | paths | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def list_different_columns(saved: Path, ledger_path: Path) -> list[str]:
    """The columns of a ledger of a stage that a script's ledger_<mode>.npz has not bit for bit."""
    expected, _ = ledger.read(ledger_path)
    with np.load(saved) as columns:
        assert set(columns.files) == set(vars(expected))
        return [name for name in columns.files if columns[name].tobytes() != getattr(expected, name).tobytes()]
