"""Watch what every quantised layer reads, on training tokens; keep the Hessians and the tokens."""

import dataclasses
from itertools import islice

from golf.data import shards
from golf.data.loader import Loader
from golf.ground import lineage, params, stage, store
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.model import checkpoint
from golf.quant import hessian

TRAIN = "artifacts/fetch/train"
HESSIANS = "artifacts/calibrate/hessians.safetensors"
TOKENS = "artifacts/calibrate/tokens.safetensors"
SEED_SHIFT = 1  # training's own seed would deal its first windows again (record-stack 5.1, item 2)


def main(here: Runtime) -> None:
    shape, train_seed, calibrate, chosen, min_weights = params.load(
        "model", "train.seed", "calibrate", "quantize.weights", "quantize.min_weights"
    )
    weights = f"artifacts/{chosen}/model.safetensors"
    state, _ = checkpoint.load(weights, shape)
    model = checkpoint.model(shape, state, here)
    inputs = hessian.inputs(state, min_weights)
    texts = shards.open_split(TRAIN, vocabulary=shape.vocabulary)
    seed = train_seed + SEED_SHIFT
    origin = lineage.of(
        "calibrate", {"weights": weights, "train": TRAIN}, shape, calibrate, min_weights, seed=seed, ranks=here.ranks
    )
    progress = Progress("calibrate", calibrate.batches, "batch", quiet=not here.first)
    with Loader(
        texts,
        context=shape.context,
        rows=calibrate.batch_tokens // shape.context,
        seed=seed,
        rank=here.rank,
        ranks=here.ranks,
        device=here.device,
        key="calibrate.batch_tokens",
    ) as loader:
        hessians, windows, seconds = hessian.collect(
            model,
            inputs,
            islice(loader, calibrate.batches),
            micro_rows=calibrate.micro_tokens // shape.context,
            here=here,
            progress=progress,
        )
    tokens = windows[:, 1:].numel()
    if here.first:
        about = {"shape": dataclasses.asdict(shape), "lineage": origin}
        hessian.save(HESSIANS, hessians, inputs, tokens=tokens, **about)
        store.save_tensors(TOKENS, {"windows": windows}, kind=hessian.TOKENS_KIND, meta=about)
        stage.write_clock("calibrate", here, train_seconds=seconds)
    progress.done(f"{len(hessians)} Hessians for {len(inputs)} tensors from {tokens:,} tokens")


if __name__ == "__main__":
    stage.enter("calibrate", main)
