"""A finished run of the pipeline as a submission tells it: settings, script, scores, seconds, and its log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io, json_records
from golf.artifacts.json_records import Count, PositiveCount, Seconds, Sha256
from golf.config import validation
from golf.config.model import ModelConfig
from golf.errors import ArtifactError, InputError
from golf.evaluation.scoring_loop import MODES
from golf.model.gpt import GPT
from golf.quantization import hessians
from golf.submission.bundle import log_format, packing

__all__ = ["RunRecord", "read_run", "require_same_settings"]

_METRIC_TYPES: dict[str, Any] = {
    "headline": str,
    "val_bpb": float,
    "val_loss": float,
    "val_tokens": PositiveCount,
    "comparable_with_fineweb": bool,
    "eval_seconds": Seconds,
    "verdict": str,
    **{f"val_bpb_{mode}": float for mode in MODES},
    **{f"seconds_{mode}": Seconds for mode in MODES},
}


@dataclass(frozen=True)
class RunRecord:
    """What the stages left of one seed.

    script: the bytes of train_gpt.py that compress weighed. settings: the sections in it. source: of the text, from
    fetch's manifest.json. text_digests: the sha256 of the index of train and val. training_s, calibration_s: seconds.
    metrics, checks: of evaluate, statuses by check; empty where the artifact was not evaluated.
    """

    folder: Path
    script: bytes
    settings: Mapping[str, Mapping[str, Any]]
    source: dict[str, Any]
    text_digests: tuple[str, str]
    n_train_shards: int
    n_steps: int
    training_s: float
    calibration_s: float
    hardware: str
    payload_bytes: int
    metrics: Mapping[str, Any]
    checks: Mapping[str, str]

    @property
    def seed(self) -> int:
        return int(self.settings["train"]["seed"])

    @property
    def total_bytes(self) -> int:
        """Bytes of the model and of train_gpt.py."""
        return self.payload_bytes + len(self.script)

    def iter_log(self, code_bytes: int) -> Iterator[str]:
        """Yield the lines that the script prints, from the tables of the stages. code_bytes: of the script that ships.

        Raises ArtifactError for a table that is missing or malformed.
        """
        model_cfg, _ = validation.from_mapping(ModelConfig, self.settings["model"], "model")
        with torch.device("meta"):
            state = GPT(model_cfg).state_dict()
        inputs = hessians.map_quantized_inputs(state, self.settings["quantize"]["min_weights"])
        yield from log_format.format_settings(self.settings, self.seed)
        yield from log_format.format_data(
            world_size=self.settings["train"]["ranks"],
            hardware=self.hardware,
            n_params=sum(tensor.numel() for tensor in state.values()),
            train_shards=self.n_train_shards,
            n_targets=self.metrics["val_tokens"] if self.metrics else None,
            is_export=bool(self.metrics) and self.metrics["comparable_with_fineweb"],
        )
        number = io.parse_finite_float
        rows = io.read_csv(self.folder / "train/log.csv", {"step": int, "seconds": number, "loss": number})
        dev_rows = io.read_csv(self.folder / "train/dev.csv", {"step": int, "seconds": number, "dev_loss": number})
        yield from log_format.format_steps(rows, dev_rows, self.n_steps)
        yield from log_format.format_training_end(
            seconds=self.training_s,
            n_steps=self.n_steps,
            n_hessians=len(set(inputs.values())),
            calibration_s=self.calibration_s,
            has_stopped_early=self.n_steps != self.settings["train"]["steps"],
        )
        yield from log_format.format_sizes(self.payload_bytes, code_bytes)
        if self.metrics:
            yield from self._iter_scores()

    def _iter_scores(self) -> Iterator[str]:
        """The lines of the scores, the headline last."""
        headline = self.metrics["headline"]
        for mode in sorted(MODES, key=lambda mode: mode == headline):
            if mode == headline:
                score = self.metrics["val_loss"], self.metrics["val_bpb"], self.metrics["eval_seconds"]
                yield log_format.format_score(mode, *score, is_headline=True)
            else:  # loss / bpb is the same in all modes, which score the same targets and bytes
                bpb = self.metrics[f"val_bpb_{mode}"]
                loss = bpb / self.metrics["val_bpb"] * self.metrics["val_loss"]
                yield log_format.format_score(mode, loss, bpb, self.metrics[f"seconds_{mode}"], is_headline=False)


def read_run(folder: Path) -> RunRecord:
    """Read a run from a workspace, or from the ``artifacts`` folder in it.

    Raises ArtifactError for a file that is missing, malformed, or not of this run.
    """
    folder = folder if (folder / "compress").is_dir() else folder / "artifacts"
    sizes_path, script_path = folder / "compress/sizes.json", folder / "compress/bundle.pyz"
    types = {"payload_bytes": Count, "payload_sha256": Sha256, "bundle_sha256": Sha256}
    sizes = json_records.read_sealed(sizes_path, **types)
    if not script_path.is_file() or io.sha256_file(script_path) != sizes["bundle_sha256"]:
        raise ArtifactError(script_path, "is missing or not the file that compress weighed")
    script = script_path.read_bytes()
    train_timing = json_records.read_sealed(folder / "train/timing.json", train_seconds=Seconds, hardware=str)
    calibration = json_records.read_sealed(folder / "calibrate/timing.json", train_seconds=Seconds)
    metrics, checks = _read_evaluation(folder / "evaluate", sizes["payload_sha256"])
    return RunRecord(
        folder=folder,
        script=script,
        settings=packing.read_settings(script),
        source=json_records.read_sealed(folder / "fetch/manifest.json", source=dict)["source"],
        text_digests=(_index_sha256(folder, "train"), _index_sha256(folder, "val")),
        n_train_shards=len(io.read_json(folder / "fetch/train/index.json")["shards"]),
        n_steps=json_records.read_record(folder / "train/metrics.json", steps=Count)["steps"],
        training_s=train_timing["train_seconds"],
        calibration_s=calibration["train_seconds"],
        hardware=train_timing["hardware"],
        payload_bytes=sizes["payload_bytes"],
        metrics=metrics,
        checks=checks,
    )


def _index_sha256(folder: Path, split: str) -> str:
    path = folder / "fetch" / split / "index.json"
    if not path.is_file():
        raise ArtifactError(path, "not found")
    return io.sha256_file(path)


def _read_evaluation(folder: Path, payload_sha256: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(metrics, statuses by check); both empty where nothing was evaluated."""
    if not (folder / "metrics.json").is_file():
        return {}, {}
    metrics = json_records.read_record(folder / "metrics.json", **_METRIC_TYPES)
    verdict = json_records.read_record(folder / "verdict.json", artifact_sha256=str, checks=list)
    if verdict["artifact_sha256"] != payload_sha256:
        raise ArtifactError(folder / "verdict.json", "is of another artifact than compress's model.golf")
    return metrics, {row["check"]: row["status"] for row in verdict["checks"]}


def require_same_settings(runs: list[RunRecord]) -> None:
    """Raise InputError unless the runs differ in the seed, and in nothing else that was set or read."""
    first = runs[0]
    for run in runs[1:]:
        for section, keys in first.settings.items():
            for key, value in keys.items():
                other = run.settings[section].get(key)
                if other != value and (section, key) != ("train", "seed"):
                    problem = f"{section}.{key} is {other} there and {value} in {first.folder}"
                    raise InputError(f"{run.folder}: {problem}; all runs of a submission must have the same settings")
        if run.text_digests != first.text_digests:
            raise InputError(f"{run.folder}: its texts are not those of {first.folder}; all runs must read the same")
    seeds = [run.seed for run in runs]
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise InputError(f"--runs: seed {repeated[0]} twice; give each seed once")
