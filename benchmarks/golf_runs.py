"""The golf rows of the scoreboard: the stages in a folder of their own, from the artifacts of a finished run.

quantize, compress and evaluate run again for each size of file, on the weights of the default run or of others that
were named; the one whose packed weights are best on dev, in plain windows, is evaluated. A point over training time
runs train and all that follows it. The text codec has the artifact of the default run.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from scoreboard_data import ScoreboardData
from scoreboard_jobs import Job, Stopwatch, UnavailableRowError

from golf.artifacts import io, json_records, lineage
from golf.compression import stored_weights
from golf.config import loader
from golf.config.loader import Config
from golf.distributed import device
from golf.distributed.launcher import STARTED_AT_ENV
from golf.errors import GolfError
from golf.evaluation import ledger, quick_bpb
from golf.evaluation.scoring_loop import MODES
from golf.model import attention_backends
from golf.quantization import codes_io

ROOT = Path(__file__).resolve().parents[1]
_PACKING_STAGES = ("quantize", "compress")
_TRAINING_STAGES = ("train", "ema", "ttt", "calibrate")
_EMA_DECAYS = (0.96, 0.98, 0.99)  # for a run of another length the default run's decay may be wrong


@dataclass(frozen=True)
class GolfRun:
    """A finished run: its params.yaml and its folder artifacts/."""

    name: str
    folder: Path

    @property
    def cfg(self) -> Config:
        return loader.load_config(self.folder / "params.yaml")

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def read_train_s(self) -> float:
        """Of training and calibration, as the stages measured them. Raises UnavailableRowError without them."""
        paths = [self.artifacts / stage / "timing.json" for stage in ("train", "calibrate")]
        self._require(paths)
        return float(
            sum(json_records.read_sealed(path, train_seconds=json_records.Seconds)["train_seconds"] for path in paths)
        )

    def hash_inputs(self) -> dict[str, str]:
        """sha256 of the files that the stages after calibrate read. Raises UnavailableRowError for a missing one."""
        files = [
            f"{self.cfg.quantize.weights}/model.safetensors",
            "calibrate/hessians.safetensors",
            "calibrate/sensitivity.safetensors",
            "ttt/plan.json",
            *(f"{stage}/timing.json" for stage in ("train", "calibrate", "ttt")),
        ]
        self._require([self.artifacts / file for file in files])
        return {file: io.sha256_file(self.artifacts / file) for file in files}

    def hash_artifact(self) -> dict[str, str]:
        """sha256 of the files that ``golf encode`` reads beside val. Raises UnavailableRowError for a missing one."""
        files = ("compress/model.golf", "compress/sizes.json", "ttt/plan.json", "fetch/tokenizer.model")
        self._require([self.artifacts / file for file in files])
        return {file: io.sha256_file(self.artifacts / file) for file in files}

    def _require(self, paths: list[Path]) -> None:
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise UnavailableRowError(f"{missing[0]}: not found; make the run first: dvc repro")


class GolfCoder:
    """golf in its three scoring modes. runs: the default first."""

    title = "golf"

    def __init__(self, data: ScoreboardData, runs: list[GolfRun]) -> None:
        self._data, self._runs = data, runs

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        stages = ("quantize", "compress", "evaluate", *(_TRAINING_STAGES if job.minutes is not None else ()))
        sources: dict[str, Any] = {stage: lineage.hash_sources(stage) for stage in stages}
        sources |= {name: io.sha256_file(ROOT / "benchmarks" / name) for name in ("golf_runs.py", "scoreboard_data.py")}
        runs = self._runs if job.minutes is None else self._runs[:1]
        params = {run.name: io.sha256_file(run.folder / "params.yaml") for run in runs}
        artifacts = {run.name: run.hash_inputs() for run in runs if job.minutes is None}
        return {"splits": self._data.digests(), "sources": sources, "params": params, "artifacts": artifacts}

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        watch, runs = Stopwatch(), self._runs if job.minutes is None else self._runs[:1]
        scores = {}
        for run in runs:
            work = folder / run.name
            linked = ("fetch",) if job.minutes is not None else ("fetch", *_TRAINING_STAGES)
            _prepare(work, run, linked, {"compress.limit_bytes": job.limit_bytes})
            if job.minutes is not None:
                _train(work, run, 60 * job.minutes)
            for stage in _PACKING_STAGES:
                _run_stage(work, stage)
            scores[run] = self._measure_dev(work, run.cfg)
        best = min(scores, key=scores.__getitem__)
        work = folder / best.name
        sizes = io.read_json(work / "artifacts/compress/sizes.json")
        io.write_json(folder / "chosen.json", {"run": best.name})
        seconds = GolfRun(best.name, work).read_train_s()
        codes = io.read_json(work / "artifacts/quantize/metrics.json")
        return {
            "settings": {"run": best.name, "bits_per_weight": codes["bits_per_weight"]},
            "dev_bpb": scores[best],
            "model_bytes": sizes["payload_bytes"],
            "code_bytes": sizes["code_bytes"],
            "seconds": round(seconds, 3),
            "tune_seconds": 0.0 if len(runs) == 1 else watch.read(),
        }

    def _measure_dev(self, work: Path, cfg: Config) -> float:
        """Plain bpb of dev with the packed weights."""
        stored, model_cfg, _ = codes_io.load(work / "artifacts/quantize/codes.safetensors")
        ctx = device.init_context(cfg.ema, "ema", attention_backends.resolve_attention)
        options = {"eval_batch_tokens": cfg.ema.eval_batch_tokens}
        measure_bpb = quick_bpb.make_plain_bpb_fn(self._data.dev.stream, model_cfg, ctx, **options)
        return measure_bpb(stored_weights.to_state_dict(stored))

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        work, val = folder / io.read_json(folder / "chosen.json")["run"], self._data.val
        _run_stage(work, "evaluate")
        metrics, results = io.read_json(work / "artifacts/evaluate/metrics.json"), {}
        for mode in MODES:
            path = work / "artifacts/evaluate/ledgers" / f"{mode}.safetensors"
            if path.is_file():
                rows, _ = ledger.read(path)
                results[mode] = val.to_json(val.score_tokens(rows.nll)) | {"seconds": metrics[f"seconds_{mode}"]}
        return results


class TextCodecCoder:
    """The artifact of a run as a lossless compressor. Both ways; decoding refuses what is not the text, bit by bit."""

    title = "golf text codec"

    def __init__(self, data: ScoreboardData, run: GolfRun) -> None:
        self._data, self._run = data, run

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        sources = lineage.hash_sources("evaluate") | {
            str(path.relative_to(ROOT)): io.sha256_file(path)
            for path in sorted((ROOT / "golf/evaluation/text_codec").glob("*.py"))
        }
        sources |= {"golf_runs.py": io.sha256_file(Path(__file__))}
        return {"splits": self._data.digests(), "sources": sources, "artifact": self._run.hash_artifact()}

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        sizes = io.read_json(self._run.artifacts / "compress/sizes.json")
        if sizes["artifact_bytes"] > (job.limit_bytes or 0):
            raise GolfError(f"the default run has {sizes['artifact_bytes']:,} bytes, over {job.limit_bytes:,}")
        _prepare(folder / "run", self._run, ("fetch", "ttt", "compress"), {})
        return {
            "settings": {},
            "dev_bpb": None,
            "model_bytes": sizes["payload_bytes"],
            "code_bytes": sizes["code_bytes"],
            "seconds": self._run.read_train_s(),
            "tune_seconds": 0.0,
        }

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        work, results = folder / "run", {}
        for mode, *arguments in (("encode", "--split", "val", "--out", "val.golfz"), ("decode", "val.golfz")):
            report = _run_command(work, mode, *arguments)
            bpb = 8 * (work / "val.golfz").stat().st_size / self._data.val.n_bytes
            results[mode] = {"bpb": bpb, "clean_bpb": None, "document_bits": None, "seconds": report["seconds"]}
        return results


def _run_command(work: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of golf in ``work`` and return its JSON. Raises GolfError with its last message."""
    command = [sys.executable, "-m", "golf", *arguments, "--json"]
    env = os.environ | {"PYTHONPATH": str(work)}
    completed = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise GolfError((completed.stderr.strip().splitlines() or [f"golf {arguments[0]} failed"])[-1])
    report: dict[str, Any] = json.loads(completed.stdout)
    return report


def _prepare(work: Path, run: GolfRun, linked: tuple[str, ...], overrides: dict[str, object]) -> None:
    """Make ``work`` anew: copies of golf and stages, so that no edit reaches a running job, and links to artifacts."""
    io.remove_dirs(work)
    for package in ("golf", "stages"):
        shutil.copytree(ROOT / package, work / package, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "artifacts").mkdir()
    for stage in linked:
        (work / "artifacts" / stage).symlink_to((run.artifacts / stage).resolve())
    shutil.copy(run.folder / "params.yaml", work / "params.yaml")
    set_params(work / "params.yaml", overrides)


def set_params(path: Path, overrides: dict[str, object]) -> None:
    """Set dotted keys of a params.yaml, all of which it has."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(path.read_text(encoding="utf-8"))
    for dotted, value in overrides.items():
        section, key = dotted.split(".")
        params[section][key] = value
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(params, file)


def _train(work: Path, run: GolfRun, seconds: float) -> None:
    """Train for this many seconds, then all stages up to calibrate, with the weight average that is best on dev."""
    limit = {"train.limit_s": seconds + run.cfg.train.reserve_s, "train.steps": None, "train.checkpoint_every": None}
    set_params(work / "params.yaml", limit)
    _run_stage(work, "train")
    scores = {}
    for decay in sorted({*_EMA_DECAYS, run.cfg.ema.decay}):
        set_params(work / "params.yaml", {"ema.decay": decay})
        try:
            _run_stage(work, "ema")
        except GolfError:  # a short run has no snapshots for a long average
            continue
        scores[decay] = io.read_json(work / "artifacts/ema/metrics.json")["dev_bpb"]
    if not scores:
        raise GolfError(f"ema.decay: none of {_EMA_DECAYS} suits a run of {seconds:g} s; give longer --minutes")
    set_params(work / "params.yaml", {"ema.decay": min(scores, key=scores.__getitem__)})
    for stage in ("ema", "ttt", "calibrate"):
        _run_stage(work, stage)


def _run_stage(work: Path, stage: str) -> None:
    """Run a stage in ``work``; its output goes to this process's. Raises GolfError with its last message."""
    env = {key: value for key, value in os.environ.items() if key != STARTED_AT_ENV} | {"PYTHONPATH": str(work)}
    command = [sys.executable, "-m", f"stages.{stage}"]
    completed = subprocess.run(command, cwd=work, env=env, stderr=subprocess.PIPE, text=True, check=False)
    print(completed.stderr, flush=True)
    if completed.returncode:
        messages = [line for line in completed.stderr.splitlines() if line.startswith(f"{stage}: ")]
        raise GolfError(messages[-1] if messages else f"{stage} ended with exit code {completed.returncode}")
