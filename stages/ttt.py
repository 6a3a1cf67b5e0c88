"""Ttt: adaptation of the full-precision weights on a held-out stream, to study it before val is read."""

import dataclasses

from golf.artifacts import io, lineage
from golf.config.loader import load_sections
from golf.data import loader, split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.evaluation import evaluator
from golf.inference.predictor import GolfPredictor
from golf.model import checkpoint
from golf.pipeline import runner
from golf.training import prequant_ttt

TOKENIZER_PATH = "artifacts/fetch/tokenizer.model"
INPUT_WEIGHTS_PATH = "artifacts/ema/model.safetensors"
WEIGHTS_PATH = "artifacts/ttt/model.safetensors"
LEDGER_PATH = "artifacts/ttt/ledger.safetensors"
TTT_CONFIG_PATH = "artifacts/ttt/plan.json"
METRICS_PATH = "artifacts/ttt/metrics.json"
RUNNING_BPB_PATH = "artifacts/ttt/bpb_so_far.csv"


def main(ctx: DistContext) -> None:
    model_cfg, ttt_cfg, prequant_cfg = load_sections("model", "ttt", "prequant")
    split_dir = f"artifacts/fetch/{ttt_cfg.stream}"
    consistency.check_same_inputs("ttt", INPUT_WEIGHTS_PATH, split_dir, TOKENIZER_PATH)
    split = split_reader.open_split(split_dir, model_cfg.vocab_size)
    stream = EvalStream.from_split(split, Tokenizer.open(TOKENIZER_PATH))
    weights, _ = checkpoint.load(INPUT_WEIGHTS_PATH, model_cfg)
    model = checkpoint.build_model(model_cfg, weights, ctx)
    predictor = GolfPredictor(model, ctx, eval_batch_tokens=ttt_cfg.eval_batch_tokens)
    eval_args = {
        "ttt_cfg": ttt_cfg,
        "stride": ttt_cfg.stride,
        "context_length": model_cfg.context_length,
        "quiet": not ctx.is_main,
    }
    baseline_result = evaluator.evaluate_mode(predictor, stream, "sliding", **eval_args, stage="ttt")
    bpb_before = baseline_result.score.bpb
    if ttt_cfg.method == "score_first":
        used_cfgs, annotations = (ttt_cfg,), {}
        adapted_result = evaluator.evaluate_mode(predictor, stream, "ttt", **eval_args, stage="ttt")
        bpb_after = adapted_result.score.bpb
        seconds = round(adapted_result.seconds, 3)
        metrics = {"bpb_sliding": bpb_before, "bpb_ttt": bpb_after, "gain": bpb_before - bpb_after, "seconds": seconds}
    else:
        used_cfgs, annotations, progress_name = (
            (ttt_cfg, prequant_cfg),
            prequant_ttt.make_annotations(ttt_cfg.stream),
            prequant_ttt.make_progress_name(ttt_cfg.stream),
        )
        windows = loader.make_eval_windows(split, model_cfg.context_length, stream.n_targets)
        prequant_result = prequant_ttt.finetune_on_stream(
            model, windows, prequant_cfg, ctx, progress_name=progress_name
        )
        predictor = GolfPredictor(model, ctx, eval_batch_tokens=ttt_cfg.eval_batch_tokens)
        adapted_result = evaluator.evaluate_mode(predictor, stream, "sliding", **eval_args, stage=progress_name)
        metrics = prequant_ttt.make_metrics(
            ttt_cfg.stream, prequant_cfg, prequant_result, bpb_before, adapted_result.score.bpb
        )
    if not ctx.is_main:
        return
    run_lineage = lineage.make_lineage(
        "ttt", {"weights": INPUT_WEIGHTS_PATH, "stream": split_dir}, model_cfg, *used_cfgs, world_size=ttt_cfg.ranks
    )
    checkpoint.save(WEIGHTS_PATH, model.state_dict(), model_cfg, lineage=run_lineage)
    adapted_result.ledger.save(LEDGER_PATH, stream=ttt_cfg.stream, lineage=run_lineage, **annotations)
    io.write_json(
        TTT_CONFIG_PATH,
        {"ttt": dataclasses.asdict(ttt_cfg), "splits_seen": run_lineage["splits_seen"], "lineage": run_lineage},
    )
    curve = evaluator.tabulate_running_bpb({"sliding": baseline_result, "ttt": adapted_result})
    runner.write_timing_json("ttt", ctx, train_seconds=metrics["seconds"])
    io.write_csv(RUNNING_BPB_PATH, [row | annotations for row in curve])
    io.write_json(METRICS_PATH, {"stream": ttt_cfg.stream, **metrics})


if __name__ == "__main__":
    runner.run_stage("ttt", main)
