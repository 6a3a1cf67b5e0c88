"""How near a byte limit the column grid lands, and in how many solves. ``python benchmarks/budget.py ARTIFACTS``

For limits between half and twice the one of params.yaml: what the file as packed leaves of its room, and how many times
the whole model was solved. The room is the limit less what is kept for the code.
"""

import argparse
import time
from pathlib import Path
from types import SimpleNamespace

from finished import Finished

from golf import spend
from golf.codec import packing
from golf.ground import params, store
from golf.quant import codes

SHARES = (0.5, 0.6, 0.75, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of finished runs")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    default, reserve = params.load("compress.limit_bytes", "compress.code_reserve_bytes")
    rows = []
    for folder in asked.artifacts:
        run, tried = Finished.load(folder), []

        def size_of(quantized, run=run, tried=tried) -> int:
            stored = codes.flatten(quantized, run.small)
            tried.append(len(packing.pack(stored, run.shape, seen=("train",), codec="entropy", quality=11)))
            return tried[-1]

        plan = SimpleNamespace(grid="column", level=None, damp=0.01, block=128)
        for limit in (round(share * default) for share in SHARES):
            tried.clear()
            began = time.perf_counter()
            room = limit - reserve
            given = run.state, run.hessians, run.inputs, plan, run.minded
            found, level = spend.quantize(*given, size_of=size_of, room=room)
            seconds, solves = time.perf_counter() - began, len(tried) - 1  # one file holds no codes at all
            left = 1 - size_of(found) / room
            row = {"run": str(folder), "limit": limit, "level": level, "solves": solves, "left": left}
            rows.append(row | {"seconds": seconds})
            print(
                f"{folder}  limit {limit:>10,}   level {level:.3f}   {solves} solves   {left:.3%} left   "
                f"{seconds:.1f} s"
            )
    if asked.json:
        store.write_json(asked.json, {"rows": rows})


if __name__ == "__main__":
    main()
