"""Ema: choose the averaged weights and measure on dev what averaging gains."""

from pathlib import Path

from golf.artifacts import io, lineage
from golf.config import loader
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed.context import DistContext
from golf.evaluation import quick_bpb
from golf.model import attention_backends, checkpoint
from golf.pipeline import runner
from golf.pipeline.progress import Progress, log_compiling
from golf.training import ema_io
from golf.training.ema import blend_with_last

DEV_DIR = "artifacts/fetch/dev"
TOKENIZER_PATH = "artifacts/fetch/tokenizer.model"
RAW_WEIGHTS_PATH = "artifacts/train/model.safetensors"
EMA_DIR = "artifacts/train/ema"
CHECKPOINT_DIR = "artifacts/train/checkpoints"
WEIGHTS_PATH = "artifacts/ema/model.safetensors"
METRICS_PATH = "artifacts/ema/metrics.json"
CHECKPOINT_BPB_PATH = "artifacts/ema/checkpoints.csv"


def main(ctx: DistContext) -> None:
    model_cfg, ema_cfg = loader.load_sections("model", "ema")
    split = split_reader.open_split(DEV_DIR, model_cfg.vocab_size)
    stream = EvalStream.from_split(split, Tokenizer.open(TOKENIZER_PATH))
    ema_weights, ema_info, ema_files = ema_io.load(EMA_DIR, ema_cfg.decay, model_cfg)
    raw_weights, raw_metadata = checkpoint.load(RAW_WEIGHTS_PATH, model_cfg)
    if ema_cfg.share < 1:
        ema_weights = blend_with_last(ema_weights, raw_weights, ema_cfg.share)
        ema_info, ema_files = ema_info | {"share": ema_cfg.share}, [*ema_files, Path(RAW_WEIGHTS_PATH)]
    n_checkpoints = len(checkpoint.list_checkpoints(CHECKPOINT_DIR))
    log_compiling("ema", ctx)
    progress = Progress("ema", (2 + n_checkpoints) * stream.n_targets, "targets of dev")
    measure_bpb = quick_bpb.make_plain_bpb_fn(
        stream, model_cfg, ctx, eval_batch_tokens=ema_cfg.eval_batch_tokens, progress=progress
    )
    run_lineage = lineage.make_lineage(
        "ema", {path.name: path for path in ema_files}, model_cfg, ema_cfg.decay, ema_cfg.share
    )
    checkpoint.save(WEIGHTS_PATH, ema_weights, model_cfg, lineage=run_lineage, ema=ema_info)
    raw_bpb, ema_bpb = measure_bpb(raw_weights), measure_bpb(ema_weights)
    bpb_metrics = {"dev_bpb_raw": raw_bpb, "dev_bpb": ema_bpb, "gain": raw_bpb - ema_bpb}
    io.write_json(METRICS_PATH, {**ema_info, **bpb_metrics, "checkpoints": n_checkpoints})
    rows = [
        {"step": metadata["step"], "dev_bpb": measure_bpb(weights, recurrent=metadata["recurrent"])}
        for weights, metadata in checkpoint.iter_checkpoints(CHECKPOINT_DIR, model_cfg)
    ]
    io.write_csv(CHECKPOINT_BPB_PATH, [*rows, {"step": raw_metadata["steps"], "dev_bpb": raw_bpb}])
    progress.finish(f"dev bpb {ema_bpb:.4f}, of the last step's weights {raw_bpb:.4f}")


if __name__ == "__main__":
    runner.run_stage("ema", main, resolve_attention=attention_backends.resolve_attention)
