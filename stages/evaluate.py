"""Evaluate: the artifact alone, in each way of scoring; the headline named beforehand; the figures, the ledgers."""

from golf import judge, verdict
from golf.data import shards
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, params, stage, store
from golf.ground.runtime import Runtime
from golf.method import Method

ARTIFACT = "artifacts/compress/model.golf"
SIZES = "artifacts/compress/sizes.json"
TOKENIZER = "artifacts/fetch/tokenizer.model"
MANIFEST = "artifacts/fetch/manifest.json"
VAL = "artifacts/fetch/val"
PLAN = "artifacts/ttt/plan.json"
TRAIN_CLOCK = "artifacts/train/clock.json"
CALIBRATE_CLOCK = "artifacts/calibrate/clock.json"
QUANTIZE_CLOCK = "artifacts/quantize/clock.json"
METRICS = "artifacts/evaluate/metrics.json"
LEDGERS = "artifacts/evaluate/ledgers"
SO_FAR = "artifacts/evaluate/bpb_so_far.csv"
BY_POSITION = "artifacts/evaluate/loss_by_position.csv"
BYTES = ("payload_bytes", "code_bytes", "artifact_bytes", "limit_bytes")


def main(here: Runtime) -> None:
    evaluate = params.load("evaluate")
    plan, sizes = judge.read_plan(PLAN), judge.told(SIZES, *BYTES, "splits_seen")
    clocks = judge.clocks(TRAIN_CLOCK, CALIBRATE_CLOCK, QUANTIZE_CLOCK)
    comparable = judge.told(MANIFEST, "comparable_with_fineweb")
    method = Method.open(ARTIFACT, here, score_tokens=evaluate.score_tokens)
    shape = judge.weighed(ARTIFACT, method.header, sizes, plan)
    stream = judge.Stream.of(shards.open_split(VAL, shape.vocabulary), Tokenizer.open(TOKENIZER))
    how = {"plan": plan.ttt, "stride": evaluate.stride, "context": shape.context, "limit_s": evaluate.limit_s}
    judged = judge.judge_all(method, stream, headline=evaluate.headline, quiet=not here.first, stage="evaluate", **how)
    if not here.first:
        return
    origin = lineage.of("evaluate", {"artifact": SIZES, "plan": PLAN, "val": VAL}, evaluate, ranks=here.ranks)
    judge.save_ledgers(judged, LEDGERS, stream="val", lineage=origin)
    store.write_table(SO_FAR, judge.bpb_so_far(judged))
    store.write_table(BY_POSITION, judge.loss_by_position(judged))
    seconds = round(judged[evaluate.headline].ended - stage.started(), 3)
    figures = judge.figures(judged, evaluate.headline) | {key: sizes[key] for key in BYTES} | clocks
    figures |= {"eval_seconds": seconds, "eval_limit_seconds": evaluate.limit_s, **comparable}
    store.write_json(METRICS, figures | {"verdict": verdict.of(method.header.seen, plan.splits_seen)})


if __name__ == "__main__":
    stage.enter("evaluate", main)
