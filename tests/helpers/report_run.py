"""The artifacts of a small run with every file that ``golf report`` reads, written without a stage."""

from pathlib import Path

import torch

from golf.artifacts import io, lineage
from golf.compliance.check_result import CheckResult
from golf.compression import size_budget, writer
from golf.config.model import ModelConfig
from golf.evaluation import bpb, ledger
from golf.evaluation.scoring_loop import MODES
from tests.helpers import lineage_files
from tests.helpers.verdicts import write_evaluation

RATE_DISTORTION, SCOREBOARD = "benchmarks/results/rate_distortion.csv", "benchmarks/results/scoreboard.json"
SCOREBOARD_ROW = {"title": "golf", "mode": "ttt", "status": "ok", "limit_bytes": 500_000, "minutes": None}


def write_report_run(model_cfg: ModelConfig, *changed: CheckResult) -> Path:
    """Write the run below the current folder; return its artifacts. changed: checks that do not pass."""
    tensors = {"blocks.0.mlp.fc.weight.codes": torch.arange(6, dtype=torch.int8).reshape(2, 3)}
    packed = writer.pack(tensors, model_cfg, upstream_splits=["train"], codec="ans", brotli_quality=5)
    write_evaluation(Path(), *changed, artifact=packed)
    _write_compress()
    _write_tables()
    for stage, seconds in (("train", 588.25), ("evaluate", 98.5)):
        io.write_json(f"artifacts/{stage}/run.json", {"seconds": seconds, "hardware": "2 × CPU core (x86_64)"})
    io.write_json("artifacts/train/metrics.json", {"steps": 17, "tokens": 1700, "seconds": 570.0})
    ema = {"decay": 0.98, "dev_bpb_raw": 1.5, "dev_bpb": 1.4875, "gain": 0.0125}
    io.write_json("artifacts/ema/metrics.json", ema)
    rows = [SCOREBOARD_ROW | {"total_bytes": 499_000, "bpb": 1.0625}]
    rows += [SCOREBOARD_ROW | {"title": "<PPMd>", "mode": "", "total_bytes": 480_000, "bpb": 1.3125}]
    rows += [SCOREBOARD_ROW | {"title": "ZPAQ", "mode": "", "status": "not run"}]
    corpus = {"val": {"bytes": 44, "documents": 3}}
    io.write_json(SCOREBOARD, {"corpus": corpus, "machine": "a machine", "rows": rows})
    return Path("artifacts")


def _write_compress() -> None:
    """sizes.json with the lineage of model.golf, and sizes.csv."""
    lineage_files.write_split("train", 7)
    lineage_files.write_artifact(lineage_files.TRAINED, "train", {"train": "artifacts/fetch/train"}, seed=42)
    lineage_files.write_artifact(lineage_files.CODES, "quantize", {"weights": lineage_files.TRAINED})
    payload_bytes = Path(lineage_files.GOLF).stat().st_size
    sizes = {"payload_bytes": payload_bytes, "code_bytes": 4, "artifact_bytes": payload_bytes + 4, "limit_bytes": 1000}
    sizes |= {"headroom_bytes": 1000 - payload_bytes - 4}
    record = lineage.make_lineage("compress", {"codes": lineage_files.CODES})
    digests = {"payload_sha256": io.sha256_file(lineage_files.GOLF), "splits_seen": record["splits_seen"]}
    io.write_json(lineage_files.SIZES, sizes | digests | {"lineage": record})
    sections = size_budget.measure_sections(lineage_files.GOLF)
    io.write_csv("artifacts/compress/sizes.csv", size_budget.tabulate_sizes(sections, sizes))


def _write_tables() -> None:
    steps = range(1, 18, 4)
    log = [
        {"step": step, "loss": 9 / step, "grad_norm": 0.5, "lr_multiplier": 1 - step / 20, "recurrent": int(step > 9)}
        for step in steps
    ]
    io.write_csv("artifacts/train/log.csv", log)
    io.write_csv("artifacts/train/dev.csv", [{"step": 8, "dev_loss": 2.5}, {"step": 17, "dev_loss": 2.25}])
    io.write_csv("artifacts/ema/checkpoints.csv", [{"step": 8, "dev_bpb": 1.75}, {"step": 17, "dev_bpb": 1.5}])
    tensors = [("blocks.0.mlp.fc.weight", "matrix", 2.5), ("tok_emb.weight", "embed", 3.75)]
    rows = [
        {"tensor": name, "kind": kind, "weights": 600, "bits_per_weight": bits, "entropy_bytes": 200}
        | {"error_vs_rtn": 0.5}
        for name, kind, bits in tensors
    ]
    io.write_csv("artifacts/quantize/tensors.csv", rows)
    ledgers = {mode: ledger.read(f"artifacts/evaluate/ledgers/{mode}.safetensors")[0] for mode in MODES}
    running = {mode: bpb.compute_running_bpb(data) for mode, data in ledgers.items()}
    rows = [
        {"tokens": points[0]["tokens"]} | {mode: point["bpb"] for mode, point in zip(MODES, points, strict=True)}
        for points in zip(*running.values(), strict=True)
    ]
    io.write_csv("artifacts/evaluate/running_bpb.csv", rows)
    points = [("record", 900_000, 0.02), ("record", 700_000, 0.04), ("rows & columns", 800_000, 0.0)]
    rows = [{"run": "laptop", "recipe": name, "bytes": size, "bpb_increase": loss} for name, size, loss in points]
    io.write_csv(RATE_DISTORTION, rows)
