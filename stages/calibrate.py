"""Watch, on training tokens, what every quantised layer reads and how much the loss minds it; keep the tokens too."""

import dataclasses
from itertools import islice

from golf.data import shards
from golf.data.loader import Loader
from golf.ground import lineage, meeting, params, stage, store
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.model import checkpoint
from golf.quant import hessian, sensitivity
from golf.train import clock

TRAIN = "artifacts/fetch/train"
CLOCK = "artifacts/train/clock.json"
HESSIANS = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY = "artifacts/calibrate/sensitivity.safetensors"
TOKENS = "artifacts/calibrate/tokens.safetensors"
BACKWARD = 4  # a pass that keeps what the way back needs holds fewer windows, and takes longer
SEED_SHIFT = 1  # training's own seed would deal its first windows again (record-stack 5.1, item 2)


def main(here: Runtime) -> None:
    shape, train_seed, limit_s, calibrate, chosen, min_weights = params.load(
        "model", "train.seed", "train.limit_s", "calibrate", "quantize.weights", "quantize.min_weights"
    )
    weights = f"artifacts/{chosen}/model.safetensors"
    meeting.same_inputs("calibrate", weights, TRAIN, CLOCK)
    state, _ = checkpoint.load(weights, shape)
    model = checkpoint.model(shape, state, here)
    inputs = hessian.inputs(state, min_weights)
    texts = shards.open_split(TRAIN, vocabulary=shape.vocabulary)
    seed = train_seed + SEED_SHIFT
    origin = lineage.of(
        "calibrate", {"weights": weights, "train": TRAIN}, shape, calibrate, min_weights, seed=seed, ranks=here.ranks
    )
    progress = Progress("calibrate", calibrate.batches, "batch", quiet=not here.first)
    rows, micro_rows = calibrate.batch_tokens // shape.context, calibrate.micro_tokens // shape.context
    ranked = {"rank": here.rank, "ranks": here.ranks, "device": here.device}
    left_s, follows = clock.left(limit_s, CLOCK), calibrate.sensitivity_tokens / calibrate.batch_tokens
    with Loader(texts, context=shape.context, rows=rows, seed=seed, key="calibrate.batch_tokens", **ranked) as loader:
        batches = islice(loader, calibrate.batches)
        clocked = {"progress": progress, "left_s": left_s, "after": BACKWARD * follows}
        hessians, windows, seconds = hessian.collect(
            model, inputs, batches, micro_rows=micro_rows, here=here, **clocked
        )
    minded, backward = sensitivity.measure(
        model,
        inputs,
        windows[: calibrate.sensitivity_tokens // shape.context],
        micro_rows=max(1, micro_rows // BACKWARD),
        seed=seed,
        here=here,
    )
    tokens, taken = windows[:, 1:].numel(), len(windows) // rows
    if here.first:
        about = {"shape": dataclasses.asdict(shape), "lineage": origin, "batches": taken}
        hessian.save(HESSIANS, hessians, inputs, tokens=tokens, **about)
        store.save_tensors(TOKENS, {"windows": windows}, kind=hessian.TOKENS_KIND, meta=about)
        sensitivity.save(SENSITIVITY, minded, **about)
        stage.write_clock("calibrate", here, train_seconds=seconds + backward)
    early = hessian.stopped(taken, calibrate.batches, limit_s)
    progress.done(f"{len(hessians)} Hessians for {len(inputs)} tensors from {tokens:,} tokens{early}")


if __name__ == "__main__":
    stage.enter("calibrate", main)
