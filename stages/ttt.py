"""Ttt: adaptation of the full-precision weights on a held-out stream, to study it before val is read."""

import dataclasses

from golf import judge
from golf.data import loader, shards
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, meeting, params, stage, store
from golf.ground.runtime import Runtime
from golf.method import Method
from golf.model import checkpoint
from golf.ttt import prequant

TOKENIZER = "artifacts/fetch/tokenizer.model"
START = "artifacts/ema/model.safetensors"
WEIGHTS = "artifacts/ttt/model.safetensors"
LEDGER = "artifacts/ttt/ledger.safetensors"
PLAN = "artifacts/ttt/plan.json"
METRICS = "artifacts/ttt/metrics.json"
CURVE = "artifacts/ttt/bpb_so_far.csv"


def main(here: Runtime) -> None:
    shape, ttt, settings = params.load("model", "ttt", "prequant")
    folder = f"artifacts/fetch/{ttt.stream}"
    meeting.same_inputs("ttt", START, folder, TOKENIZER)
    split = shards.open_split(folder, shape.vocabulary)
    stream = Stream.of(split, Tokenizer.open(TOKENIZER))
    weights, _ = checkpoint.load(START, shape)
    model = checkpoint.model(shape, weights, here)
    method = Method(model, here, score_tokens=ttt.score_tokens)
    how = {"plan": ttt, "stride": ttt.stride, "context": shape.context, "quiet": not here.first}
    fixed = judge.judge(method, stream, "sliding", **how, stage="ttt")
    before = fixed.score.bpb
    if ttt.method == "score_first":
        used, beside = (ttt,), {}
        adapted = judge.judge(method, stream, "ttt", **how, stage="ttt")
        after = adapted.score.bpb
        seconds = round(adapted.seconds, 3)
        figures = {"bpb_sliding": before, "bpb_ttt": after, "gain": before - after, "seconds": seconds}
    else:
        used, beside, title = (ttt, settings), prequant.beside(ttt.stream), prequant.title(ttt.stream)
        windows = loader.held_out(split, shape.context, stream.targets)
        outcome = prequant.adapt(model, windows, settings, here, name=title)
        method = Method(model, here, score_tokens=ttt.score_tokens)
        adapted = judge.judge(method, stream, "sliding", **how, stage=title)
        figures = prequant.figures(ttt.stream, settings, outcome, before, adapted.score.bpb)
    if not here.first:
        return
    origin = lineage.of("ttt", {"weights": START, "stream": folder}, shape, *used, ranks=ttt.ranks)
    checkpoint.save(WEIGHTS, model.state_dict(), shape, lineage=origin)
    adapted.ledger.save(LEDGER, stream=ttt.stream, lineage=origin, **beside)
    store.write_json(PLAN, {"ttt": dataclasses.asdict(ttt), "splits_seen": origin["splits_seen"], "lineage": origin})
    curve = judge.bpb_so_far({"sliding": fixed, "ttt": adapted})
    stage.write_clock("ttt", here, train_seconds=figures["seconds"])
    store.write_table(CURVE, [row | beside for row in curve])
    store.write_json(METRICS, {"stream": ttt.stream, **figures})


if __name__ == "__main__":
    stage.enter("ttt", main)
