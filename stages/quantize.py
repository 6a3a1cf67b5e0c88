"""Weights to integers: GPTQ against calibrate's Hessians. On the CPU, where it takes seconds; no text is read again."""

from golf import spend
from golf.codec import packing
from golf.ground import lineage, params, stage, store
from golf.ground.progress import Progress
from golf.model import checkpoint
from golf.quant import codes, hessian, outcome, sensitivity

HESSIANS = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY = "artifacts/calibrate/sensitivity.safetensors"
CODES = "artifacts/quantize/codes.safetensors"
TENSORS = "artifacts/quantize/tensors.csv"
COLUMNS = "artifacts/quantize/columns.csv"
METRICS = "artifacts/quantize/metrics.json"


def main() -> None:
    shape, quantize, codec, quality, limit, reserve = params.load(
        "model",
        "quantize",
        "compress.codec",
        "compress.quality",
        "compress.limit_bytes",
        "compress.code_reserve_bytes",
    )
    weights = f"artifacts/{quantize.weights}/model.safetensors"
    state, _ = checkpoint.load(weights, shape)
    inputs = hessian.inputs(state, quantize.min_weights)
    hessians = hessian.load(HESSIANS, inputs, weights)
    minded = sensitivity.load(SENSITIVITY, state, inputs if quantize.grid == "column" else (), weights)
    read = {"weights": weights, "hessians": HESSIANS, "sensitivity": SENSITIVITY}
    origin = lineage.of("quantize", read, shape, quantize, codec, quality, limit, reserve)
    small = {name: tensor for name, tensor in state.items() if name not in inputs}

    def size_of(tried) -> int:
        stored = codes.flatten(tried, small)
        return len(packing.pack(stored, shape, seen=origin["splits_seen"], codec=codec, quality=quality))

    quantized, level = spend.quantize(state, hessians, inputs, quantize, minded, size_of=size_of, room=limit - reserve)
    rows = outcome.table(state, quantized, hessians, inputs, quantize)

    codes.save(CODES, codes.flatten(quantized, small), shape, lineage=origin)
    store.write_table(TENSORS, rows)
    store.write_table(COLUMNS, outcome.columns(quantized, hessians, inputs))
    told = outcome.totals(rows, small)
    store.write_json(METRICS, {**told, "level": level})
    stage.write_clock("quantize", train_seconds=0.0)
    Progress("quantize", None, "").done(f"{told['bits']} bits a weight" + (f" at level {level:.3g}" if level else ""))


if __name__ == "__main__":
    stage.enter("quantize", main)
