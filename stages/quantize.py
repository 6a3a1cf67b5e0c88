"""Quantize: turn weights into integer codes with GPTQ and calibrate's Hessians; no text but its tokens is read."""

import torch

from golf.artifacts import io
from golf.artifacts.lineage import make_lineage
from golf.compression import writer
from golf.compression.quantized_tensor import QuantizedTensor
from golf.compression.stored_weights_writer import fit_repairs, rotate_inputs
from golf.config import loader
from golf.model import checkpoint
from golf.pipeline import runner, timing
from golf.pipeline.progress import log_line
from golf.quantization import codes_io, hessians, rate_control, refinement, report, sensitivity
from golf.quantization.trellis import Coding
from golf.training.time_budget import read_remaining_s

HESSIANS_PATH = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY_PATH = "artifacts/calibrate/sensitivity.safetensors"
TOKENS_PATH = "artifacts/calibrate/tokens.safetensors"
TRAIN_TIMING, CALIBRATE_TIMING = "artifacts/train/timing.json", "artifacts/calibrate/timing.json"
CODES_PATH, METRICS_PATH = "artifacts/quantize/codes.safetensors", "artifacts/quantize/metrics.json"
TENSORS_PATH, COLUMNS_PATH = "artifacts/quantize/tensors.csv", "artifacts/quantize/columns.csv"


def main() -> None:
    model_cfg, cfg, limit_s, codec, brotli_quality, limit_bytes, code_reserve_bytes = loader.load_sections(
        "model", "quantize", "train.limit_s", "compress.codec", "compress.brotli_quality", "compress.limit_bytes",
        "compress.code_reserve_bytes",
    )  # fmt: skip
    weights_path = f"artifacts/{cfg.weights}/model.safetensors"
    weights, _ = checkpoint.load(weights_path, model_cfg)
    inputs = hessians.map_quantized_inputs(weights, cfg.min_weights)
    small_tensors = {name: tensor for name, tensor in weights.items() if name not in inputs}
    hessian_by_input = hessians.load(HESSIANS_PATH, inputs, weights_path)
    sensitivities = sensitivity.load(SENSITIVITY_PATH, weights, inputs if cfg.grid != "row" else (), weights_path)
    paths = {"weights": weights_path, "hessians": HESSIANS_PATH, "sensitivity": SENSITIVITY_PATH}
    paths |= {"tokens": TOKENS_PATH} if cfg.refine_steps else {}
    coding = Coding.from_config(cfg)
    weights, hessian_by_input, rotation = rotate_inputs(weights, hessian_by_input, inputs, cfg.rotate)
    record = make_lineage("quantize", paths, model_cfg, cfg, codec, brotli_quality, limit_bytes, code_reserve_bytes)

    def store(candidate: dict[str, QuantizedTensor]) -> dict[str, torch.Tensor]:
        repairs = fit_repairs(weights, candidate, cfg.lqer, cfg.lqer_tensors)
        return codes_io.to_storage(candidate, small_tensors | rotation) | repairs

    def measure_packed_size(candidate: dict[str, QuantizedTensor]) -> int:
        options = {"codec": codec, "brotli_quality": brotli_quality, "trellis_states": coding.trellis_states}
        return len(writer.pack(store(candidate), model_cfg, upstream_splits=record["splits_seen"], **options))

    max_bytes = limit_bytes - code_reserve_bytes - (refinement.RESERVE_BYTES if cfg.refine_steps else 0)
    quantized, base_step = rate_control.quantize_to_budget(
        weights, hessian_by_input, inputs, cfg, sensitivities, size_fn=measure_packed_size, max_bytes=max_bytes
    )
    if cfg.refine_steps:
        windows = refinement.load_tokens(TOKENS_PATH, weights_path)
        time_left_s = read_remaining_s(limit_s, TRAIN_TIMING, CALIBRATE_TIMING)
        options = {"steps": cfg.refine_steps, "time_left_s": time_left_s}
        refined = refinement.refine_scalars(weights, quantized, small_tensors, model_cfg, windows, **options)
        quantized, small_tensors = refined.quantized, refined.small_tensors
    codes_io.save(CODES_PATH, store(quantized), model_cfg, trellis_states=coding.trellis_states, lineage=record)
    io.write_csv(TENSORS_PATH, rows := report.list_tensors(weights, quantized, hessian_by_input, inputs, cfg, coding))
    io.write_csv(COLUMNS_PATH, report.list_columns(quantized, hessian_by_input, inputs, coding))
    io.write_json(METRICS_PATH, totals := report.compute_totals(rows, small_tensors, base_step))
    timing.write_timing_json("quantize", train_seconds=refined.seconds if cfg.refine_steps else 0.0)
    log_line("quantize", report.summarize(totals))


if __name__ == "__main__":
    runner.run_stage("quantize", main)
