"""Val is read from the evaluator's memory, which the operating system shows of every running process."""

import contextlib
import os
from pathlib import Path

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(6, "val in the evaluator's memory", "", ("C1-g",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        with contextlib.suppress(OSError):  # where the machine forbids it
            status = Path(f"/proc/{os.getppid()}/status").read_text()
            evaluator_proc = Path("/proc", status.partition("PPid:")[2].split()[0])
            start = int(evaluator_proc.joinpath("maps").read_text().partition("-")[0], 16)
            with open(evaluator_proc / "mem", "rb") as memory:
                memory.seek(start)
                memory.read(64)
