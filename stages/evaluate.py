"""Evaluate: the artifact alone, in each way of scoring; the headline named beforehand; the probes and the verdict."""

from golf.artifacts import io, lineage
from golf.compliance import evaluation_log, evaluation_run, verdict
from golf.compliance.context import ArtifactContext
from golf.compliance.verdict_builder import ValidationData, VerdictBuilder, make_log_entry
from golf.config import loader
from golf.distributed import consistency
from golf.distributed.context import DistContext
from golf.evaluation import evaluator
from golf.evaluation.sandbox.host import Sandbox
from golf.pipeline import runner

ARTIFACT = "artifacts/compress/model.golf"
CODE = "artifacts/compress/code.tar.xz"
SIZES = "artifacts/compress/sizes.json"
TOKENIZER = "artifacts/fetch/tokenizer.model"
MANIFEST = "artifacts/fetch/manifest.json"
TRAIN_INDEX, DEV_INDEX = "artifacts/fetch/train/index.json", "artifacts/fetch/dev/index.json"
VAL = "artifacts/fetch/val"
PLAN = "artifacts/ttt/plan.json"
TRAIN_TIMING = "artifacts/train/clock.json"
CALIBRATE_TIMING = "artifacts/calibrate/clock.json"
QUANTIZE_TIMING = "artifacts/quantize/clock.json"
TTT_TIMING = "artifacts/ttt/clock.json"
METRICS = "artifacts/evaluate/metrics.json"
PACKED_CODE = "artifacts/evaluate/code.tar.xz"  # what the room ran: compress's, or packed here for another method
VERDICT = "artifacts/evaluate/verdict.json"
LEDGERS = "artifacts/evaluate/ledgers"
RUNNING_BPB, LOSS_BY_POSITION = "artifacts/evaluate/bpb_so_far.csv", "artifacts/evaluate/loss_by_position.csv"
EVALUATION_LOG = "artifacts/evaluate/executions.jsonl"


def main() -> DistContext:
    param_keys = (
        "prequant.epochs",
        "model.context_length",
        "model.vocab_size",
        "compress.limit_bytes",
        "quantize.weights",
    )
    cfg, ttt_cfg, prequant_epochs, context_length, vocab_size, limit_bytes, quantized_weights = loader.load_sections(
        "evaluate", "ttt", *param_keys
    )
    timing_paths = (
        TRAIN_TIMING,
        CALIBRATE_TIMING,
        QUANTIZE_TIMING,
        *([TTT_TIMING] if quantized_weights == "ttt" else []),
    )
    consistency.check_same_inputs(
        "evaluate", cfg.artifact, CODE, PLAN, SIZES, VAL, TRAIN_INDEX, DEV_INDEX, TOKENIZER, MANIFEST, *timing_paths
    )
    code_path = None
    if cfg.artifact == ARTIFACT:
        artifact_ctx = ArtifactContext.from_pipeline(ARTIFACT, CODE, SIZES, PLAN, context_length, *timing_paths)
        code_path = CODE if cfg.predictor == evaluation_run.OWN_PREDICTOR else None
    else:
        artifact_ctx = ArtifactContext.from_external(cfg.artifact, PLAN, ttt_cfg, context_length)
    with Sandbox(cfg, bundle_path=code_path) as sandbox:
        val_data = ValidationData.open(VAL, TRAIN_INDEX, DEV_INDEX, TOKENIZER, MANIFEST, vocab_size)
        if runner.is_main_process():
            evaluation_log.append_entry(
                EVALUATION_LOG, make_log_entry(cfg, artifact_ctx, val_data, runner.git_revision())
            )
        run = evaluation_run.run_evaluation(
            sandbox, artifact_ctx, val_data.stream, cfg, context_length=context_length, vocab_size=vocab_size
        )
    ctx = run.session.ctx
    if not ctx.is_main:
        return ctx
    builder = VerdictBuilder(cfg, artifact_ctx, val_data, run, sandbox, limit_bytes, prequant_epochs)
    metrics = builder.metrics(eval_seconds=run.headline_seconds(runner.process_start_time()))
    inputs = {"val": VAL} | ({"artifact": ARTIFACT, "plan": PLAN} if artifact_ctx.training_time else {})
    artifact_sha256 = lineage.artifact_sha256(
        cfg.artifact
    )  # a parameter, as a stranger's file may have no lineage to follow
    lineage_record = lineage.make_lineage("evaluate", inputs, cfg, artifact_sha256, world_size=ctx.world_size)
    disclaimers = {mode: artifact_ctx.disclaimer(mode) for mode in run.results}
    evaluator.save_ledgers(
        run.results, LEDGERS, disclaimers, stream="val", method=cfg.predictor, lineage=lineage_record
    )
    io.write_csv(RUNNING_BPB, evaluator.tabulate_running_bpb(run.results))
    io.write_csv(LOSS_BY_POSITION, evaluator.tabulate_loss_by_position(run.results))
    final_verdict = builder.build(
        metrics, LEDGERS, EVALUATION_LOG, hardware=runner.describe_hardware(ctx), commit=runner.git_revision()
    )
    io.write_json(VERDICT, final_verdict.to_dict())
    io.write_bytes(PACKED_CODE, sandbox.bundle)
    io.write_json(METRICS, metrics | {"verdict": final_verdict.summary})
    runner.log(verdict.render_verdict(final_verdict.to_dict()))
    return ctx


if __name__ == "__main__":
    runner.run_stage(
        "evaluate",
        main,
        model_in_subprocess=True,
        stale_outputs=(METRICS, VERDICT, LEDGERS, RUNNING_BPB, LOSS_BY_POSITION, PACKED_CODE),
    )
