"""Train: Muon for matrices, AdamW for the rest, averages on the way, until the budget is used."""

import torch

from golf.data import shards
from golf.data.loader import Loader, held_out
from golf.ground import lineage, meeting, params, stage, store
from golf.ground.runtime import Runtime
from golf.model import checkpoint
from golf.model.gpt import GPT
from golf.train import averages_file, loop, state

TRAIN = "artifacts/fetch/train"
DEV = "artifacts/fetch/dev"
WEIGHTS = "artifacts/train/model.safetensors"
AVERAGES = "artifacts/train/ema"
CHECKPOINTS = "artifacts/train/checkpoints"
LOG = "artifacts/train/log.csv"
DEV_LOG = "artifacts/train/dev.csv"
METRICS = "artifacts/train/metrics.json"


def main(here: Runtime) -> None:
    shape, train = params.load("model", "train")
    meeting.same_inputs("train", TRAIN, DEV)
    texts = shards.open_split(TRAIN, shape.vocabulary)
    dev = held_out(shards.open_split(DEV, shape.vocabulary), shape.context, train.dev_tokens)
    if here.first:
        store.clear(AVERAGES, CHECKPOINTS)
    origin, same = (
        lineage.of("train", {"train": TRAIN}, shape, wanted, seed=train.seed, ranks=train.ranks)
        for wanted in (train, state.neutral(train))
    )
    model = GPT(shape, here.attention).initialise(torch.Generator().manual_seed(train.seed)).to(here.device)
    rows = train.batch_tokens // shape.context
    ranked = {"rank": here.rank, "ranks": here.ranks, "device": here.device}
    with state.opened(state.key(same, lineage.file_digest(DEV)), train, here) as run:
        keep = checkpoint.Keeper(run.checkpoints, model, lineage=origin)
        with Loader(
            texts, context=shape.context, rows=rows, seed=train.seed, position=run.position, **ranked
        ) as batches:
            outcome = loop.train(model, batches, train, here, dev=dev, save=keep, state=run)
        if not here.first:
            return
        checkpoint.save(WEIGHTS, model.state_dict(), shape, lineage=origin, steps=outcome.steps)
        averages_file.save(AVERAGES, outcome.averages, shape, lineage=origin)
        run.deliver(CHECKPOINTS)
        store.write_table(LOG, outcome.log)
        store.write_table(DEV_LOG, outcome.dev)
        stage.write_clock("train", here, train_seconds=outcome.seconds, limit_seconds=train.limit_s)
        store.write_json(METRICS, outcome.figures(train))
        run.finish()


if __name__ == "__main__":
    stage.enter("train", main)
