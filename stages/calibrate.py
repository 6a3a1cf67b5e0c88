"""Calibrate: measure each layer's input Hessian and output sensitivity on tokens, and keep these tokens."""

import dataclasses
from functools import partial
from itertools import islice

from golf.artifacts import io, lineage
from golf.config import loader
from golf.data import split_reader
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.model import attention_backends, checkpoint
from golf.pipeline import runner, timing
from golf.pipeline.progress import Progress
from golf.quantization import calibration_batches, hessians, sensitivity
from golf.training import time_budget

TRAIN_DIR, TRAIN_TIMING_PATH = "artifacts/fetch/train", "artifacts/train/timing.json"
HESSIANS_PATH = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY_PATH = "artifacts/calibrate/sensitivity.safetensors"
TOKENS_PATH = "artifacts/calibrate/tokens.safetensors"


def main(ctx: DistContext) -> None:
    model_cfg, train_seed, limit_s, cfg, stage, min_weights, hub_root = loader.load_sections(
        "model", "train.seed", "train.limit_s", "calibrate", "quantize.weights", "quantize.min_weights", "hub.root"
    )
    weights_path = f"artifacts/{stage}/model.safetensors"
    consistency.check_same_inputs("calibrate", weights_path, TRAIN_DIR, TRAIN_TIMING_PATH)
    weights, _ = checkpoint.load(weights_path, model_cfg)
    model = checkpoint.build_model(model_cfg, weights, ctx)
    inputs = hessians.map_quantized_inputs(weights, min_weights)
    seed, context_length = train_seed + hessians.SEED_OFFSET, model_cfg.context_length
    paths = {"weights": weights_path} | ({"train": TRAIN_DIR} if cfg.source == "train" else {})
    params = model_cfg, cfg, min_weights
    record = lineage.make_lineage("calibrate", paths, *params, seed=seed, world_size=ctx.world_size, dtype=ctx.dtype)
    rows, micro_rows = cfg.batch_tokens // context_length, cfg.micro_batch_tokens // context_length
    progress = Progress("calibrate", cfg.batches, "batch", quiet=not ctx.is_main)
    followup_batches = sensitivity.BACKWARD_COST * (cfg.sensitivity_tokens / cfg.batch_tokens)
    time_left_s = time_budget.read_remaining_s(limit_s, TRAIN_TIMING_PATH)
    options = {"progress": progress, "time_left_s": time_left_s, "followup_batches": followup_batches}
    open_train = partial(split_reader.open_split, TRAIN_DIR, model_cfg.vocab_size, hub_root=hub_root)
    with calibration_batches.open_batches(model, cfg, ctx, seed=seed, open_train=open_train) as batches:
        hessian_by_input, windows, forward_s = hessians.collect_hessians(
            model, inputs, islice(batches, cfg.batches), micro_rows=micro_rows, ctx=ctx, **options
        )
    sensitivity_windows = windows[: cfg.sensitivity_tokens // context_length]
    backward_rows = max(1, micro_rows // sensitivity.BACKWARD_COST)
    n_windows = len(sensitivity_windows[ctx.rank :: ctx.world_size])
    progress = Progress("calibrate", n_windows, "windows with gradients", quiet=not ctx.is_main)
    sensitivity_by_name, backward_s = sensitivity.estimate_output_fisher(
        model, inputs, sensitivity_windows, micro_rows=backward_rows, seed=seed, ctx=ctx, progress=progress
    )
    n_tokens, n_batches = windows[:, 1:].numel(), len(windows) // rows
    if ctx.is_main:
        metadata = {"model": dataclasses.asdict(model_cfg), "lineage": record, "batches": n_batches}
        hessians.save(HESSIANS_PATH, hessian_by_input, inputs, n_tokens=n_tokens, **metadata)
        io.save_tensors(TOKENS_PATH, {"windows": windows}, kind=hessians.TOKENS_KIND, meta=metadata)
        sensitivity.save(SENSITIVITY_PATH, sensitivity_by_name, **metadata)
        timing.write_timing_json("calibrate", ctx, train_seconds=forward_s + backward_s)
    note = hessians.make_early_stop_note(n_batches, cfg.batches, limit_s)
    progress.finish(f"{len(hessian_by_input)} Hessians for {len(inputs)} tensors from {n_tokens:,} tokens{note}")


if __name__ == "__main__":
    runner.run_stage("calibrate", main, resolve_attention=attention_backends.resolve_attention)
