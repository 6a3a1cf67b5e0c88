"""Weights to integers: GPTQ against calibrate's Hessians. On the CPU, where it takes seconds; no text is read again."""

from golf.artifacts import io, lineage
from golf.compression import writer
from golf.config import loader
from golf.model import checkpoint
from golf.pipeline import runner
from golf.pipeline.progress import Progress
from golf.quantization import codes_io, hessians, rate_control, report, sensitivity

HESSIANS_PATH = "artifacts/calibrate/hessians.safetensors"
SENSITIVITY_PATH = "artifacts/calibrate/sensitivity.safetensors"
CODES_PATH = "artifacts/quantize/codes.safetensors"
TENSORS_PATH = "artifacts/quantize/tensors.csv"
COLUMNS_PATH = "artifacts/quantize/columns.csv"
METRICS_PATH = "artifacts/quantize/metrics.json"


def main() -> None:
    model_cfg, cfg, codec, brotli_quality, limit_bytes, code_reserve_bytes = loader.load_sections(
        "model",
        "quantize",
        "compress.codec",
        "compress.brotli_quality",
        "compress.limit_bytes",
        "compress.code_reserve_bytes",
    )
    weights_path = f"artifacts/{cfg.weights}/model.safetensors"
    state_dict, _ = checkpoint.load(weights_path, model_cfg)
    inputs = hessians.quantized_inputs(state_dict, cfg.min_weights)
    hessian_by_input = hessians.load(HESSIANS_PATH, inputs, weights_path)
    sensitivity_by_name = sensitivity.load(
        SENSITIVITY_PATH, state_dict, inputs if cfg.grid == "row_column" else (), weights_path
    )
    input_paths = {"weights": weights_path, "hessians": HESSIANS_PATH, "sensitivity": SENSITIVITY_PATH}
    lineage_record = lineage.make_lineage(
        "quantize", input_paths, model_cfg, cfg, codec, brotli_quality, limit_bytes, code_reserve_bytes
    )
    small_tensors = {name: tensor for name, tensor in state_dict.items() if name not in inputs}

    def packed_size(candidate) -> int:
        stored = codes_io.to_storage(candidate, small_tensors)
        return len(
            writer.pack(
                stored,
                model_cfg,
                upstream_splits=lineage_record["splits_seen"],
                codec=codec,
                brotli_quality=brotli_quality,
            )
        )

    quantized, base_step = rate_control.quantize_to_budget(
        state_dict,
        hessian_by_input,
        inputs,
        cfg,
        sensitivity_by_name,
        size_fn=packed_size,
        max_bytes=limit_bytes - code_reserve_bytes,
    )
    rows = report.tensor_table(state_dict, quantized, hessian_by_input, inputs, cfg)

    codes_io.save(CODES_PATH, codes_io.to_storage(quantized, small_tensors), model_cfg, lineage=lineage_record)
    io.write_csv(TENSORS_PATH, rows)
    io.write_csv(COLUMNS_PATH, report.column_table(quantized, hessian_by_input, inputs))
    totals = report.compute_totals(rows, small_tensors)
    io.write_json(METRICS_PATH, {**totals, "level": base_step})
    runner.write_timing_json("quantize", train_seconds=0.0)
    Progress("quantize", None, "").finish(
        f"{totals['bits']} bits a weight" + (f" at level {base_step:.3g}" if base_step else "")
    )


if __name__ == "__main__":
    runner.run_stage("quantize", main)
