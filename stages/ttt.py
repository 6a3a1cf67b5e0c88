"""Ttt: score-first adaptation of the full-precision weights on a held-out stream, to study it before val is read."""

import dataclasses

from golf import judge
from golf.data import shards
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, params, stage, store
from golf.ground.runtime import Runtime
from golf.method import Method
from golf.model import checkpoint

TOKENIZER = "artifacts/fetch/tokenizer.model"
START = "artifacts/ema/model.safetensors"
WEIGHTS = "artifacts/ttt/model.safetensors"
LEDGER = "artifacts/ttt/ledger.safetensors"
PLAN = "artifacts/ttt/plan.json"
METRICS = "artifacts/ttt/metrics.json"
CURVE = "artifacts/ttt/bpb_so_far.csv"


def main(here: Runtime) -> None:
    shape, ttt = params.load("model", "ttt")
    split = f"artifacts/fetch/{ttt.stream}"
    stream = judge.Stream.of(shards.open_split(split, shape.vocabulary), Tokenizer.open(TOKENIZER))
    weights, _ = checkpoint.load(START, shape)
    method = Method(checkpoint.model(shape, weights, here), here, score_tokens=ttt.score_tokens)
    how = {"plan": ttt, "stride": ttt.stride, "context": shape.context, "quiet": not here.first, "stage": "ttt"}
    fixed = judge.judge(method, stream, "sliding", **how)
    adapted = judge.judge(method, stream, "ttt", **how)
    if not here.first:
        return
    origin = lineage.of("ttt", {"weights": START, "stream": split}, shape, ttt, ranks=ttt.ranks)
    checkpoint.save(WEIGHTS, method.model.state_dict(), shape, lineage=origin)
    adapted.ledger.save(LEDGER, stream=ttt.stream, lineage=origin)
    store.write_json(PLAN, {"ttt": dataclasses.asdict(ttt), "splits_seen": origin["splits_seen"]})
    store.write_table(CURVE, judge.bpb_so_far({"sliding": fixed, "ttt": adapted}))
    before, after = fixed.score.bpb, adapted.score.bpb
    figures = {"bpb_sliding": before, "bpb_ttt": after, "gain": before - after}
    store.write_json(METRICS, {"stream": ttt.stream, **figures, "seconds": round(adapted.seconds, 3)})


if __name__ == "__main__":
    stage.enter("ttt", main)
