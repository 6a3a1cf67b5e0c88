"""How well rate control fills a byte limit, and in how many solves. ``python benchmarks/rate_control.py ARTIFACTS``

For limits between half and twice the limit in params.yaml: the unused fraction of the model's bytes (the limit without
the reserve for code), and how many times the whole model was solved, in the form that params.yaml chooses.
"""

import argparse
import dataclasses
import time
from pathlib import Path

from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.compression import writer
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config import loader
from golf.config.sections import QuantizeConfig
from golf.quantization import codes_io, rate_control
from golf.quantization.trellis import Coding

LIMIT_FRACTIONS = (0.5, 0.6, 0.75, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of complete runs")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    default_limit_bytes, code_reserve_bytes, quantize_cfg = loader.load_sections(
        "compress.limit_bytes", "compress.code_reserve_bytes", "quantize"
    )
    cfg, rows = dataclasses.replace(quantize_cfg, base_step=None), []
    for folder in args.artifacts:
        run = RunArtifacts.load(folder)
        for limit_bytes in (round(fraction * default_limit_bytes) for fraction in LIMIT_FRACTIONS):
            rows.append({"run": str(folder), "limit_bytes": limit_bytes})
            rows[-1] |= fill_limit(run, cfg, limit_bytes - code_reserve_bytes)
            row = rows[-1]
            print(
                f"{folder}  limit {limit_bytes:>10,}   step {row['base_step']:.3f}   {row['n_solves']} solves   "
                f"{row['unused_frac']:.3%} unused   {row['seconds']:.1f} s"
            )
    if args.json:
        io.write_json(args.json, {"rows": rows})


def fill_limit(run: RunArtifacts, cfg: QuantizeConfig, max_bytes: int) -> dict[str, float]:
    """Let rate control fill ``max_bytes``: the base step, bytes, share of them unused, solves and seconds."""
    options = {"codec": "ans", "brotli_quality": 11, "trellis_states": Coding.from_config(cfg).trellis_states}
    packed_sizes: list[int] = []

    def measure_size(quantized: dict[str, QuantizedTensor]) -> int:
        stored = codes_io.to_storage(quantized, run.unquantized)
        packed_sizes.append(len(writer.pack(stored, run.model_cfg, upstream_splits=("train",), **options)))
        return packed_sizes[-1]

    start_s = time.perf_counter()
    solver_args = run.state_dict, run.hessians, run.input_names, cfg, run.sensitivity
    solved, base_step = rate_control.quantize_to_budget(*solver_args, size_fn=measure_size, max_bytes=max_bytes)
    seconds, n_solves = time.perf_counter() - start_s, len(packed_sizes) - 1  # one size is that of zero codes
    size = measure_size(solved)
    return {
        "base_step": base_step,
        "bytes": size,
        "n_solves": n_solves,
        "unused_frac": 1 - size / max_bytes,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
