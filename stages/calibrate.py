"""Calibrate: measure each layer's input Hessian and output sensitivity on tokens, and keep these tokens."""

import dataclasses
from functools import partial

from golf.artifacts import io, lineage
from golf.config import loader
from golf.data import split_reader
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.model import attention_backends, checkpoint
from golf.pipeline import runner, timing
from golf.pipeline.progress import format_count, log_line
from golf.quantization import hessians, sensitivity
from golf.quantization.calibration import calibrate
from golf.training import time_budget

TRAIN_DIR, TRAIN_TIMING_PATH = "artifacts/fetch/train", "artifacts/train/timing.json"
HESSIANS_PATH = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY_PATH = "artifacts/calibrate/sensitivity.safetensors"
TOKENS_PATH = "artifacts/calibrate/tokens.safetensors"


def main(ctx: DistContext) -> None:
    model_cfg, train_seed, limit_s, cfg, stage, min_weights, hub_root = loader.load_sections(
        "model", "train.seed", "train.limit_s", "calibrate", "quantize.weights", "quantize.min_weights", "hub.root"
    )
    time_left_s = time_budget.read_remaining_s(limit_s, TRAIN_TIMING_PATH)
    weights_path = f"artifacts/{stage}/model.safetensors"
    consistency.check_same_inputs("calibrate", weights_path, TRAIN_DIR, TRAIN_TIMING_PATH)
    weights, _ = checkpoint.load(weights_path, model_cfg)
    model = checkpoint.build_model(model_cfg, weights, ctx)
    inputs, seed = hessians.map_quantized_inputs(weights, min_weights), train_seed + hessians.SEED_OFFSET
    paths = {"weights": weights_path} | ({"train": TRAIN_DIR} if cfg.source == "train" else {})
    params = model_cfg, cfg, min_weights
    record = lineage.make_lineage("calibrate", paths, *params, seed=seed, world_size=ctx.world_size, dtype=ctx.dtype)
    open_train = partial(split_reader.open_split, TRAIN_DIR, model_cfg.vocab_size, hub_root=hub_root)
    options = {"seed": seed, "open_train": open_train, "time_left_s": time_left_s}
    measured = calibrate(model, inputs, cfg, ctx, **options)
    n_tokens = measured.windows[:, 1:].numel()
    n_batches = len(measured.windows) // (cfg.batch_tokens // model_cfg.context_length)
    if ctx.is_main:
        metadata = {"model": dataclasses.asdict(model_cfg), "lineage": record, "batches": n_batches}
        hessians.save(HESSIANS_PATH, measured.hessian_by_input, inputs, n_tokens=n_tokens, **metadata)
        io.save_tensors(TOKENS_PATH, {"windows": measured.windows}, kind=hessians.TOKENS_KIND, meta=metadata)
        sensitivity.save(SENSITIVITY_PATH, measured.sensitivity_by_name, **metadata)
        timing.write_timing_json("calibrate", ctx, train_seconds=measured.seconds)
    note = hessians.make_early_stop_note(n_batches, cfg.batches, limit_s)
    note += time_budget.make_overrun_note(limit_s, time_left_s, measured.seconds)
    summary = f"{format_count(len(measured.hessian_by_input), 'Hessian')} for {format_count(len(inputs), 'tensor')}"
    log_line("calibrate", f"{summary} from {format_count(n_tokens, 'token')}{note}", quiet=not ctx.is_main)


if __name__ == "__main__":
    runner.run_stage("calibrate", main, resolve_attention=attention_backends.resolve_attention)
