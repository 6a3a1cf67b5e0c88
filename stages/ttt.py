"""Ttt: rehearse test-time training and the memory on a held-out stream in full precision."""

import dataclasses

from golf.artifacts import io, lineage
from golf.config.adaptation import TTTPlan
from golf.config.loader import load_sections
from golf.data import loader, split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.evaluation import mode_results, scoring_loop
from golf.inference.predictor import GolfPredictor
from golf.model import attention_backends, checkpoint
from golf.pipeline import progress, runner, timing
from golf.training import prequant_ttt

TOKENIZER_PATH = "artifacts/fetch/tokenizer.model"
INPUT_WEIGHTS_PATH = "artifacts/ema/model.safetensors"
WEIGHTS_PATH, LEDGER_PATH = "artifacts/ttt/model.safetensors", "artifacts/ttt/ledger.safetensors"
PLAN_PATH = "artifacts/ttt/plan.json"
METRICS_PATH, RUNNING_BPB_PATH = "artifacts/ttt/metrics.json", "artifacts/ttt/running_bpb.csv"


def main(ctx: DistContext) -> None:
    model_cfg, *plan, memory_cfg, prequant_cfg, order = load_sections(
        "model", "ttt", "lora", "phased", "memory", "prequant", "evaluate.order"
    )
    cfg = TTTPlan.from_sections(*plan)
    split_dir = f"artifacts/fetch/{cfg.stream}"
    consistency.check_same_inputs("ttt", INPUT_WEIGHTS_PATH, split_dir, TOKENIZER_PATH)
    split = split_reader.open_split(split_dir, model_cfg.vocab_size)
    stream = EvalStream.from_split(split, Tokenizer.open(TOKENIZER_PATH))
    model = checkpoint.build_model(model_cfg, checkpoint.load(INPUT_WEIGHTS_PATH, model_cfg)[0], ctx)

    def evaluate(mode: str, progress_name: str = "ttt") -> scoring_loop.ModeResult:
        progress.log_compiling(progress_name, ctx)
        predictor = GolfPredictor(model, ctx, eval_batch_tokens=cfg.eval_batch_tokens)
        options = {"ttt_cfg": cfg, "memory_cfg": memory_cfg, "stride": cfg.stride, "order": order}
        options |= {"context_length": model_cfg.context_length, "quiet": not ctx.is_main, "stage": progress_name}
        return scoring_loop.evaluate_mode(predictor, stream, mode, **options)

    before = evaluate("sliding")
    if cfg.method != "prequant":
        after, annotations, params = evaluate("ttt"), {}, [cfg, memory_cfg]
        metrics = mode_results.measure_gain(before, after)
    else:
        annotations, params = prequant_ttt.make_annotations(cfg.stream), [cfg, memory_cfg, prequant_cfg]
        name = prequant_ttt.make_progress_name(cfg.stream)
        windows = loader.make_fixed_windows(split, model_cfg.context_length, stream.n_targets)
        result = prequant_ttt.finetune_on_stream(model, windows, prequant_cfg, ctx, progress_name=name)
        after = evaluate("sliding", name)
        metrics = prequant_ttt.make_metrics(cfg.stream, prequant_cfg, result, before.score.bpb, after.score.bpb)
    if ctx.is_main:
        inputs = {"weights": INPUT_WEIGHTS_PATH, "stream": split_dir}
        record = lineage.make_lineage("ttt", inputs, model_cfg, *params, world_size=cfg.ranks, dtype=ctx.dtype)
        checkpoint.save(WEIGHTS_PATH, model.state_dict(), model_cfg, lineage=record)
        after.ledger.save(LEDGER_PATH, stream=cfg.stream, lineage=record, **annotations)
        plan = {"ttt": dataclasses.asdict(cfg), "memory": dataclasses.asdict(memory_cfg)}
        origin = lineage.make_lineage("ttt", inputs, cfg, memory_cfg, world_size=cfg.ranks, dtype=ctx.dtype)
        io.write_json(PLAN_PATH, plan | {"splits_seen": origin["splits_seen"], "lineage": origin})
        timing.write_timing_json("ttt", ctx, train_seconds=metrics["seconds"])
        curve = mode_results.tabulate_running_bpb({"sliding": before, "ttt": after})
        io.write_csv(RUNNING_BPB_PATH, [row | annotations for row in curve])
        io.write_json(METRICS_PATH, {"stream": cfg.stream, **metrics})


if __name__ == "__main__":
    runner.run_stage("ttt", main, resolve_attention=attention_backends.resolve_attention)
