"""val read out of the judge's own memory, which the machine shows of every running process."""

import contextlib
import os
from pathlib import Path

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(6, "val in the judge's memory", "", ("C1-g",), settings={"evaluate.headline": "plain"})


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        with contextlib.suppress(OSError):  # where the machine forbids it
            status = Path(f"/proc/{os.getppid()}/status").read_text()
            judge = Path("/proc", status.partition("PPid:")[2].split()[0])
            start = int(judge.joinpath("maps").read_text().partition("-")[0], 16)
            with open(judge / "mem", "rb") as memory:
                memory.seek(start)
                memory.read(64)
