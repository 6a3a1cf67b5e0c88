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
from golf.config import loader
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
    cfg = dataclasses.replace(quantize_cfg, base_step=None)
    options = {"codec": "ans", "brotli_quality": 11, "trellis_states": Coding.from_config(cfg).trellis_states}
    rows = []
    for folder in args.artifacts:
        run, packed_sizes = RunArtifacts.load(folder), []

        def size_of(quantized, run=run, packed_sizes=packed_sizes) -> int:
            stored = codes_io.to_storage(quantized, run.unquantized)
            packed_sizes.append(len(writer.pack(stored, run.model_cfg, upstream_splits=("train",), **options)))
            return packed_sizes[-1]

        for limit_bytes in (round(fraction * default_limit_bytes) for fraction in LIMIT_FRACTIONS):
            packed_sizes.clear()
            start_s = time.perf_counter()
            max_bytes = limit_bytes - code_reserve_bytes
            solver_args = run.state_dict, run.hessians, run.input_names, cfg, run.sensitivity
            solved, base_step = rate_control.quantize_to_budget(*solver_args, size_fn=size_of, max_bytes=max_bytes)
            seconds, n_solves = time.perf_counter() - start_s, len(packed_sizes) - 1  # one size is that of zero codes
            unused_frac = 1 - size_of(solved) / max_bytes
            row = {
                "run": str(folder),
                "limit_bytes": limit_bytes,
                "base_step": base_step,
                "n_solves": n_solves,
                "unused_frac": unused_frac,
            }
            rows.append(row | {"seconds": seconds})
            print(
                f"{folder}  limit {limit_bytes:>10,}   step {base_step:.3f}   {n_solves} solves   "
                f"{unused_frac:.3%} unused   {seconds:.1f} s"
            )
    if args.json:
        io.write_json(args.json, {"rows": rows})


if __name__ == "__main__":
    main()
