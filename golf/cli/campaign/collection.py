"""Take a run's figures from its experiment, after the proof that it belongs to the campaign.

A run belongs to it when the params.yaml, the source files and the data in its experiment's commit are the campaign's.
The scores are computed again from the ledgers, which stay in DVC's cache: those of the contest's val have 540 MB each.
The campaign's folder keeps the sums over documents alone.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io, json_records
from golf.cli import verification
from golf.cli.campaign import identity
from golf.cli.campaign.experiments import ExperimentFiles
from golf.cli.campaign.identity import Identity
from golf.config import yaml_reader
from golf.errors import ArtifactError, InputError
from golf.evaluation import bpb, ledger
from golf.evaluation.ledger import LedgerData
from golf.evaluation.scoring_loop import MODES

__all__ = ["collect_run", "read_documents"]

_DOCUMENTS_KIND = "campaign_documents"
_DATA_PATHS = tuple(f"artifacts/fetch/{name}" for name in ("train", "dev", "val", "tokenizer.model"))
_SHARED_PATHS = {  # the file of each stage that shows whether two runs share its result
    "train": "artifacts/train/model.safetensors",
    "ema": "artifacts/ema/model.safetensors",
    "quantize": "artifacts/quantize/codes.safetensors",
    "compress": "artifacts/compress/model.golf",
}
_TOLERANCE = 1e-9  # relative: both sides are float64 sums over the same rows
_RUN_JSON_TYPES = {"hardware": str, "cpu_load": dict, "packages": dict}


def collect_run(
    files: ExperimentFiles, name: str, seed: int, expected: Identity, data: Mapping[str, str] | None, folder: Path
) -> dict[str, Any]:
    """Return the record of the run of one seed, and write its sums over documents into the campaign's folder.

    name: the experiment's. data: the md5 of what fetch wrote in the campaign's other runs, by path; None: no other run.
    Raises InputError that names the first key in which the run differs from the campaign, and ArtifactError.
    """
    with tempfile.TemporaryDirectory(prefix="golf-campaign-") as scratch:
        copy = _Copier(files, name, Path(scratch))
        run_data, stage_files = _require_same_run(files, copy, name, seed, expected, data)
        metrics = json_records.read_record(copy("artifacts/evaluate/metrics.json"), **verification.METRICS_TYPES)
        machines = {stage: _read_machine(copy(f"artifacts/{stage}/run.json")) for stage in ("train", "evaluate")}
        documents = _sum_documents(copy, metrics)
    path = folder / f"seed_{seed}_documents.safetensors"
    text_sha256 = documents.pop("text_sha256")
    io.save_tensors(path, documents, kind=_DOCUMENTS_KIND, meta={"seed": seed, "text_sha256": text_sha256})
    return {
        "seed": seed,
        "experiment": name,
        "metrics": {key: metrics[key] for key in verification.METRICS_TYPES},
        "machines": machines,
        "data": run_data,
        "stage_files": stage_files,
        "documents": {"file": path.name, "sha256": io.sha256_file(path), "text_sha256": text_sha256},
    }


class _Copier:
    """Copies files of an experiment into a folder, each once, and names the experiment where one is missing."""

    def __init__(self, files: ExperimentFiles, name: str, folder: Path) -> None:
        self._files, self._name, self._folder = files, name, folder

    def __call__(self, path: str) -> Path:
        target = self._folder / path.replace("/", "_")
        try:
            self._files.copy(path, target)
        except FileNotFoundError:
            hint = "the experiment has not run to its end; remove it: dvc exp remove " + self._name
            raise ArtifactError(f"{path} of experiment {self._name}", "not found", hint) from None
        return target


def _require_same_run(
    files: ExperimentFiles,
    copy: _Copier,
    name: str,
    seed: int,
    expected: Identity,
    data: Mapping[str, str] | None,
) -> tuple[dict[str, str], dict[str, str]]:
    """The md5 of what fetch wrote, by path, and that of the files in _SHARED_PATHS, by stage. Raises InputError."""
    settings, own_seed = identity.parse_settings(copy("params.yaml").read_bytes(), {})
    outs = _read_outs(copy("dvc.lock"))
    run_data = {path: outs.get(path, "missing") for path in _DATA_PATHS}
    own_code = identity.hash_code(expected.code, files.read)
    difference = (
        identity.find_difference("seed", {identity.SEED_KEY: seed}, {identity.SEED_KEY: own_seed})
        or identity.find_difference("setting", expected.settings, settings)
        or identity.find_difference("code", expected.code, own_code)
        or (identity.find_difference("data", data, run_data) if data is not None else None)
    )
    if difference:
        raise InputError(
            f"experiment {name} does not belong to the campaign: {difference}; remove it with: dvc exp remove {name}"
        )
    return run_data, {stage: outs[path] for stage, path in _SHARED_PATHS.items() if path in outs}


def _read_outs(path: Path) -> dict[str, str]:
    """md5 by path of all outputs in a dvc.lock."""
    content = yaml_reader.read_yaml(path)
    try:
        return {str(out["path"]): str(out["md5"]) for stage in content["stages"].values() for out in stage["outs"]}
    except (KeyError, TypeError, AttributeError):
        raise ArtifactError("dvc.lock", "lacks the outputs of its stages") from None


def _read_machine(path: Path) -> dict[str, Any]:
    """Hardware, share of the cores that others used, and the versions of the packages, from a stage's run.json."""
    record = json_records.read_record(path, **_RUN_JSON_TYPES)
    return {
        "hardware": record["hardware"],
        "used_by_others": record["cpu_load"].get("used_by_others"),
        "packages": record["packages"],
    }


def _sum_documents(copy: _Copier, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Bits of each document in each mode, its bytes, and the digest of the text. Raises ArtifactError."""
    sums: dict[str, Any] = {}
    for mode in MODES:
        path = f"artifacts/evaluate/ledgers/{mode}.safetensors"
        rows, _ = ledger.read(copy(path))
        score = bpb.compute_score(rows)
        if not np.isclose(score.bpb, metrics[f"val_bpb_{mode}"], rtol=_TOLERANCE, atol=0):
            stated = f"metrics.json states {metrics[f'val_bpb_{mode}']:.6f} bpb, its rows give {score.bpb:.6f}"
            raise ArtifactError(path, stated)
        bits, n_bytes = bpb.sum_by_document(rows)
        sums |= {f"bits_{mode}": torch.from_numpy(bits), "bytes": torch.from_numpy(n_bytes)}
        sums["text_sha256"] = _hash_text(rows)
    return sums


def _hash_text(rows: LedgerData) -> str:
    """A digest that two ledgers share when their targets and documents have the same bytes."""
    return hashlib.sha256(rows.bytes.tobytes() + rows.document_starts.tobytes()).hexdigest()


def read_documents(folder: Path, run: Mapping[str, Any], mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits float64 [D] and bytes int64 [D] of a run's documents. Raises ArtifactError for another file."""
    path = folder / run["documents"]["file"]
    if path.is_file() and io.sha256_file(path) != run["documents"]["sha256"]:
        raise ArtifactError(path, "is not the file that campaign.json names", "remove the seed's entry by a new --name")
    tensors, _ = io.load_tensors(path, kind=_DOCUMENTS_KIND)
    return tensors[f"bits_{mode}"].numpy(), tensors["bytes"].numpy()
