"""Weights to integers: GPTQ against calibrate's Hessians. On the CPU, where it takes seconds; no text is read again."""

from golf.ground import lineage, params, stage, store
from golf.model import checkpoint
from golf.quant import codes, gptq, grid, hessian, outcome

HESSIANS = "artifacts/calibrate/hessians.safetensors"
CODES = "artifacts/quantize/codes.safetensors"
TENSORS = "artifacts/quantize/tensors.csv"
METRICS = "artifacts/quantize/metrics.json"


def main() -> None:
    shape, quantize = params.load("model", "quantize")
    weights = f"artifacts/{quantize.weights}/model.safetensors"
    state, _ = checkpoint.load(weights, shape)
    inputs = hessian.inputs(state, quantize.min_weights)
    hessians = hessian.load(HESSIANS, inputs, weights)
    origin = lineage.of("quantize", {"weights": weights, "hessians": HESSIANS}, shape, quantize)

    quantized = gptq.quantize(state, hessians, inputs, quantize)
    small = {name: tensor for name, tensor in state.items() if name not in inputs}
    rows = outcome.table(state, quantized, hessians, inputs, quantize)

    bits = {name: grid.bits_of(name, quantize) for name in quantized}
    codes.save(CODES, codes.flatten(quantized, small), shape, bits=bits, lineage=origin)
    store.write_table(TENSORS, rows)
    store.write_json(METRICS, outcome.totals(rows, small))
    stage.write_clock("quantize", train_seconds=0.0)


if __name__ == "__main__":
    stage.enter("quantize", main)
