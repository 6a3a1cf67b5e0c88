"""Watch, on training tokens, what every quantised layer reads and how much the loss minds it; keep the tokens too."""

import dataclasses
from itertools import islice

from golf.artifacts import io, lineage
from golf.config import loader
from golf.data import split_reader
from golf.data.loader import TokenLoader
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.model import checkpoint
from golf.pipeline import runner
from golf.pipeline.progress import Progress
from golf.quantization import hessians, sensitivity
from golf.training import time_budget

TRAIN_SPLIT_PATH = "artifacts/fetch/train"
TRAIN_TIMING_PATH = "artifacts/train/clock.json"
HESSIANS_PATH = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY_PATH = "artifacts/calibrate/sensitivity.safetensors"
TOKENS_PATH = "artifacts/calibrate/tokens.safetensors"
BACKWARD_COST = 4  # a pass that keeps what the way back needs holds fewer windows, and takes longer
SEED_OFFSET = 1  # training's own seed would deal its first windows again (record-stack 5.1, item 2)


def main(ctx: DistContext) -> None:
    model_cfg, train_seed, limit_s, cfg, weights_source, min_weights = loader.load_sections(
        "model", "train.seed", "train.limit_s", "calibrate", "quantize.weights", "quantize.min_weights"
    )
    weights_path = f"artifacts/{weights_source}/model.safetensors"
    consistency.check_same_inputs("calibrate", weights_path, TRAIN_SPLIT_PATH, TRAIN_TIMING_PATH)
    state_dict, _ = checkpoint.load(weights_path, model_cfg)
    model = checkpoint.build_model(model_cfg, state_dict, ctx)
    inputs = hessians.quantized_inputs(state_dict, min_weights)
    split = split_reader.open_split(TRAIN_SPLIT_PATH, vocab_size=model_cfg.vocab_size)
    seed = train_seed + SEED_OFFSET
    lineage_record = lineage.make_lineage(
        "calibrate",
        {"weights": weights_path, "train": TRAIN_SPLIT_PATH},
        model_cfg,
        cfg,
        min_weights,
        seed=seed,
        world_size=ctx.world_size,
    )
    progress = Progress("calibrate", cfg.batches, "batch", quiet=not ctx.is_main)
    rows, micro_rows = cfg.batch_tokens // model_cfg.context_length, cfg.micro_batch_tokens // model_cfg.context_length
    rank_options = {"rank": ctx.rank, "world_size": ctx.world_size, "device": ctx.device}
    time_left_s, sensitivity_batches = (
        time_budget.seconds_left(limit_s, TRAIN_TIMING_PATH),
        cfg.sensitivity_tokens / cfg.batch_tokens,
    )
    with TokenLoader(
        split,
        context_length=model_cfg.context_length,
        rows=rows,
        seed=seed,
        param_name="calibrate.batch_tokens",
        **rank_options,
    ) as token_loader:
        batches = islice(token_loader, cfg.batches)
        time_options = {
            "progress": progress,
            "time_left_s": time_left_s,
            "followup_batches": BACKWARD_COST * sensitivity_batches,
        }
        hessian_by_input, windows, forward_s = hessians.collect_hessians(
            model, inputs, batches, micro_rows=micro_rows, ctx=ctx, **time_options
        )
    sensitivity_by_name, backward_s = sensitivity.estimate_output_fisher(
        model,
        inputs,
        windows[: cfg.sensitivity_tokens // model_cfg.context_length],
        micro_rows=max(1, micro_rows // BACKWARD_COST),
        seed=seed,
        ctx=ctx,
    )
    n_tokens, n_batches = windows[:, 1:].numel(), len(windows) // rows
    if ctx.is_main:
        metadata = {"shape": dataclasses.asdict(model_cfg), "lineage": lineage_record, "batches": n_batches}
        hessians.save(HESSIANS_PATH, hessian_by_input, inputs, n_tokens=n_tokens, **metadata)
        io.save_tensors(TOKENS_PATH, {"windows": windows}, kind=hessians.TOKENS_KIND, meta=metadata)
        sensitivity.save(SENSITIVITY_PATH, sensitivity_by_name, **metadata)
        runner.write_timing_json("calibrate", ctx, train_seconds=forward_s + backward_s)
    early_stop = hessians.early_stop_note(n_batches, cfg.batches, limit_s)
    progress.finish(f"{len(hessian_by_input)} Hessians for {len(inputs)} tensors from {n_tokens:,} tokens{early_stop}")


if __name__ == "__main__":
    runner.run_stage("calibrate", main)
