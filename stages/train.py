"""Train: fit the model with Muon (matrices) and AdamW (the rest), with weight averages, until the budget is used."""

import torch

from golf.artifacts import io, lineage
from golf.config import loader
from golf.data import split_reader
from golf.data.loader import TokenLoader, make_fixed_windows
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.model import attention_backends, checkpoint
from golf.model.gpt import GPT
from golf.pipeline import runner, timing
from golf.training import ema_io, loop, resume

TRAIN_DIR, DEV_DIR = "artifacts/fetch/train", "artifacts/fetch/dev"
WEIGHTS_PATH = "artifacts/train/model.safetensors"
EMA_DIR, CHECKPOINT_DIR = "artifacts/train/ema", "artifacts/train/checkpoints"
TRAIN_LOG_PATH, DEV_LOG_PATH = "artifacts/train/log.csv", "artifacts/train/dev.csv"
METRICS_PATH = "artifacts/train/metrics.json"


def main(ctx: DistContext) -> DistContext:
    model_cfg, train_cfg, hub_root = loader.load_sections("model", "train", "hub.root")
    consistency.check_same_inputs("train", TRAIN_DIR, DEV_DIR)
    train_split = split_reader.open_split(TRAIN_DIR, model_cfg.vocab_size, hub_root=hub_root)
    dev_split = split_reader.open_split(DEV_DIR, model_cfg.vocab_size, bos_id=model_cfg.smear_gate_bos_id)
    dev_windows = make_fixed_windows(dev_split, model_cfg.context_length, train_cfg.dev_tokens)
    if ctx.is_main:
        io.remove_dirs(EMA_DIR, CHECKPOINT_DIR)
    seed, inputs = train_cfg.seed, {"train": TRAIN_DIR}
    resume_params = model_cfg, resume.strip_resume_settings(train_cfg)
    resume_lineage = lineage.make_lineage("train", inputs, *resume_params, seed=seed, world_size=train_cfg.ranks)
    model = GPT(model_cfg, ctx.attention).init_weights(torch.Generator().manual_seed(seed)).to(ctx.device)
    run_key = resume.make_run_key(resume_lineage, lineage.hash_artifact(DEV_DIR))
    with resume.open_run(run_key, train_cfg, ctx) as run:
        ctx = run.ctx
        run_lineage = lineage.make_lineage(
            "train", inputs, model_cfg, train_cfg, seed=seed, world_size=train_cfg.ranks, dtype=ctx.dtype
        )
        save_checkpoint = checkpoint.CheckpointWriter(run.checkpoint_dir, model, lineage=run_lineage)
        with TokenLoader(
            train_split,
            context_length=model_cfg.context_length,
            rows=train_cfg.batch_tokens // model_cfg.context_length,
            seed=seed,
            position=run.position,
            rank=ctx.rank,
            world_size=ctx.world_size,
            device=ctx.device,
            data_order=train_cfg.data_order,
        ) as batches:
            result = loop.train(
                model, batches, train_cfg, ctx, dev_windows=dev_windows, save_checkpoint=save_checkpoint, run=run
            )
        if not ctx.is_main:
            return ctx
        checkpoint.save(WEIGHTS_PATH, model.state_dict(), model_cfg, lineage=run_lineage, steps=result.steps)
        ema_io.save(EMA_DIR, result.ema, model_cfg, lineage=run_lineage)
        run.export_checkpoints(CHECKPOINT_DIR)
        io.write_csv(TRAIN_LOG_PATH, result.log)
        io.write_csv(DEV_LOG_PATH, result.dev_log)
        timing.write_timing_json("train", ctx, train_seconds=result.seconds, limit_seconds=train_cfg.limit_s)
        io.write_json(METRICS_PATH, result.metrics(train_cfg))
        run.discard()
    return ctx


if __name__ == "__main__":
    runner.run_stage("train", main, resolve_attention=attention_backends.resolve_attention)
