"""Evaluate: the artifact alone, in each way of scoring; the headline named beforehand; the figures, the ledgers."""

from golf import judge, verdict
from golf.data import shards
from golf.data.tokenizer import Tokenizer
from golf.ground import params, stage, store
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
    plan = judge.read_plan(PLAN)
    sizes, manifest = judge.told(SIZES, *BYTES, "splits_seen"), judge.told(MANIFEST, "comparable_with_fineweb")
    clocks = [judge.told(path, "train_seconds") for path in (TRAIN_CLOCK, CALIBRATE_CLOCK, QUANTIZE_CLOCK)]
    limit = judge.told(TRAIN_CLOCK, "limit_seconds")["limit_seconds"]
    method = Method.open(ARTIFACT, here, score_tokens=evaluate.score_tokens)
    context, vocabulary = method.model.shape.context, method.model.shape.vocabulary
    stream = judge.Stream.of(shards.open_split(VAL, vocabulary), Tokenizer.open(TOKENIZER))
    how = {
        "plan": plan.ttt,
        "stride": evaluate.stride,
        "context": context,
        "quiet": not here.first,
        "stage": "evaluate",
    }
    judged = judge.judge_all(method, stream, headline=evaluate.headline, **how)
    if not here.first:
        return
    for way, each in judged.items():
        each.ledger.save(f"{LEDGERS}/{way}.safetensors", stream="val")
    store.write_table(SO_FAR, judge.bpb_so_far(judged))
    store.write_table(BY_POSITION, judge.loss_by_position(judged))
    store.write_json(
        METRICS,
        {
            **judge.figures(judged, evaluate.headline),
            **{key: sizes[key] for key in BYTES},
            "train_seconds": round(sum(clock["train_seconds"] for clock in clocks), 3),
            "train_limit_seconds": limit,
            "eval_seconds": round(judged[evaluate.headline].ended - stage.started(), 3),
            "eval_limit_seconds": evaluate.limit_s,
            "comparable_with_fineweb": manifest["comparable_with_fineweb"],
            "verdict": verdict.of(sizes["splits_seen"], plan.splits_seen),
        },
    )


if __name__ == "__main__":
    stage.enter("evaluate", main)
