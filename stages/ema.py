"""Ema: choose the averaged weights, and measure on dev what averaging gained."""

from golf import judge
from golf.data import shards
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, params, stage, store
from golf.ground.runtime import Runtime
from golf.model import checkpoint
from golf.train import averages_file

DEV = "artifacts/fetch/dev"
TOKENIZER = "artifacts/fetch/tokenizer.model"
RAW = "artifacts/train/model.safetensors"
AVERAGES = "artifacts/train/ema"
CHECKPOINTS = "artifacts/train/checkpoints"
WEIGHTS = "artifacts/ema/model.safetensors"
METRICS = "artifacts/ema/metrics.json"
CURVE = "artifacts/ema/checkpoints.csv"


def main(here: Runtime) -> None:
    shape, ema = params.load("model", "ema")
    stream = Stream.of(shards.open_split(DEV, shape.vocabulary), Tokenizer.open(TOKENIZER))
    averaged, how, used = averages_file.load(AVERAGES, ema.decay, shape)
    raw, meta = checkpoint.load(RAW, shape)
    bpb = judge.plain_bpb(stream, shape, here, score_tokens=ema.score_tokens)
    origin = lineage.of("ema", {path.name: path for path in used}, shape, ema.decay)
    checkpoint.save(WEIGHTS, averaged, shape, lineage=origin, average=how)
    before, after = bpb(raw), bpb(averaged)
    gain = {"dev_bpb_raw": before, "dev_bpb": after, "gain": before - after}
    store.write_json(METRICS, {**how, **gain, "checkpoints": len(checkpoint.kept(CHECKPOINTS))})
    rows = [
        {"step": found["step"], "dev_bpb": bpb(weights, looped=found["looped"])}
        for weights, found in checkpoint.each(CHECKPOINTS, shape)
    ]
    store.write_table(CURVE, [*rows, {"step": meta["steps"], "dev_bpb": before}])


if __name__ == "__main__":
    stage.enter("ema", main)
