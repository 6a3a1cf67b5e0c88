"""Evaluate: score val with the artifact alone in every mode, prove the headline, and write the verdict."""

from golf.artifacts import io, lineage
from golf.compliance import evaluation_log, evaluation_run, verdict
from golf.compliance.context import EvaluationContext, ValidationData
from golf.compliance.provenance import ArtifactProvenance
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.distributed import consistency, launcher
from golf.distributed.context import DistContext
from golf.evaluation import mode_results
from golf.evaluation.sandbox.host import Sandbox
from golf.evaluation.timer import EvalTimer
from golf.pipeline import run_record, runner, timing

ARTIFACT, CODE = "artifacts/compress/model.golf", "artifacts/compress/code.tar.xz"
SIZES, BUNDLE, PLAN = "artifacts/compress/sizes.json", "artifacts/compress/bundle.pyz", "artifacts/ttt/plan.json"
VAL, TRAIN_INDEX = "artifacts/fetch/val", "artifacts/fetch/train/index.json"
DEV_INDEX, TOKENIZER = "artifacts/fetch/dev/index.json", "artifacts/fetch/tokenizer.model"
MANIFEST, TTT_TIMING = "artifacts/fetch/manifest.json", "artifacts/ttt/timing.json"
VAL_DATA = (VAL, TRAIN_INDEX, DEV_INDEX, TOKENIZER, MANIFEST)
TIMINGS = ("artifacts/train/timing.json", "artifacts/calibrate/timing.json", "artifacts/quantize/timing.json")
METRICS, VERDICT = "artifacts/evaluate/metrics.json", "artifacts/evaluate/verdict.json"
LEDGERS, LOG = "artifacts/evaluate/ledgers", "artifacts/evaluate/evaluation_log.jsonl"
RUNNING_BPB, LOSS_BY_POSITION = "artifacts/evaluate/running_bpb.csv", "artifacts/evaluate/loss_by_position.csv"
USED_CODE = "artifacts/evaluate/code.tar.xz"  # what the sandbox ran: compress's, or packed here for another predictor


def main() -> DistContext:
    cfg, *plan, memory_cfg, epochs, context_length, vocab_size, limit_bytes, count, weights = loader.load_sections(
        "evaluate", "ttt", "lora", "phased", "memory", "prequant.epochs", "model.context_length",
        "model.vocab_size", "compress.limit_bytes", "compress.count", "quantize.weights",
    )  # fmt: skip
    timing_paths = (*TIMINGS, TTT_TIMING) if weights == "ttt" else TIMINGS
    consistency.check_same_inputs("evaluate", cfg.artifact, CODE, BUNDLE, PLAN, SIZES, *VAL_DATA, *timing_paths)
    if is_own := cfg.artifact == ARTIFACT:
        artifact = ArtifactProvenance.from_pipeline(ARTIFACT, CODE, BUNDLE, SIZES, PLAN, context_length, *timing_paths)
    else:
        settings = (TTTPlan.from_sections(*plan), memory_cfg)
        artifact = ArtifactProvenance.from_external(cfg.artifact, PLAN, settings, context_length)
    # The first rank's timer decides; ranks on other machines may have waited for it.
    timer = EvalTimer(timing.get_process_start_time(), cfg.limit_s if launcher.is_main_process() else None)
    code_path = CODE if is_own and cfg.predictor == evaluation_run.OWN_PREDICTOR else None
    with Sandbox(cfg, code_path=code_path, timer=timer, manifest_path=MANIFEST) as sandbox:
        val_data = ValidationData.open(*VAL_DATA, vocab_size)
        entry = evaluation_log.make_entry(cfg, artifact.plan, val_data.index_sha256, run_record.get_git_revision())
        if launcher.is_main_process():
            evaluation_log.append_entry(LOG, entry)
        run = evaluation_run.run_evaluation(sandbox, artifact, val_data.stream, cfg, context_length)
    ctx = run.session.ctx
    if ctx.is_main:
        inputs = {"val": VAL} | ({"artifact": ARTIFACT, "plan": PLAN} if is_own else {})
        ranks = {"world_size": ctx.world_size, "dtype": ctx.dtype}
        record = lineage.make_lineage("evaluate", inputs, cfg, entry["artifact"], **ranks)
        header = {"stream": "val", "predictor": cfg.predictor, "stride": cfg.stride, "order": cfg.order}
        header |= {"lineage": record, "sha256": {"artifact": entry["artifact"], "code": sandbox.code_sha256}}
        mode_results.save_ledgers(run.results, LEDGERS, artifact.disclaimer, **header)
        io.write_csv(RUNNING_BPB, mode_results.tabulate_running_bpb(run.results))
        io.write_csv(LOSS_BY_POSITION, mode_results.tabulate_loss_by_position(run.results))
        params = (limit_bytes, epochs, BUNDLE if code_path and count == "bundle" else None)
        context = EvaluationContext(cfg, artifact, val_data, run, sandbox, entry, *params, LEDGERS, LOG)
        decision = verdict.decide(context)
        verdict.publish(context, decision, METRICS, VERDICT, USED_CODE)
        launcher.log(verdict.render_verdict(decision.to_dict()))
    return ctx


if __name__ == "__main__":
    outputs = (METRICS, VERDICT, LEDGERS, RUNNING_BPB, LOSS_BY_POSITION, USED_CODE)
    runner.run_stage("evaluate", main, model_in_subprocess=True, stale_outputs=outputs)
