"""Where long work stands: a live line on a terminal, a plain line every few seconds in a pipe. Rank 0 only."""

import shutil
import sys
import time


class Progress:
    """``train  120/400 step  loss 3.1204  14,032 tok/s  41 of 120 s  left 1m19s``, on stderr."""

    def __init__(self, stage: str, total: int | None, unit: str, *, limit_s: float | None = None, quiet: bool = False):
        self.stage, self.total, self.unit, self.limit_s = stage, total, unit, limit_s
        self.quiet = quiet
        self.live = sys.stderr.isatty()
        self.pause_s = 0.2 if self.live else 5.0
        self.started = time.perf_counter()
        self.spoken = -1e9
        self.width = 0

    def update(self, done: int, *, share: float | None = None, force: bool = False, **figures) -> None:
        """share: progress in [0, 1] where it is not done / total. figures: name -> text or number, shown as given."""
        now = time.perf_counter()
        if self.quiet or (now - self.spoken < self.pause_s and not force):
            return
        self.spoken = now
        used = now - self.started
        share = share if share is not None else (done / self.total if self.total else None)
        parts = [f"{done:,}/{self.total:,} {self.unit}" if self.total else f"{done:,} {self.unit}"]
        parts += [f"{name.replace('_', ' ')} {value}" for name, value in figures.items()]
        parts.append(f"{used:.0f} of {self.limit_s:.0f} s" if self.limit_s else f"{used:.0f} s")
        if share and share > 0.01:
            parts.append(f"left {clock(used / share - used)}")
        self.write(f"{self.stage:<9} " + "  ".join(parts))

    def write(self, line: str) -> None:
        if self.live:
            line = line[: shutil.get_terminal_size().columns - 1]  # a wrapped line could not be overwritten
            sys.stderr.write("\r" + line.ljust(self.width))
            self.width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def done(self, line: str = "") -> None:
        """End the live line; ``line`` is what stays."""
        if self.quiet:
            return
        if line or self.live:
            self.write(f"{self.stage:<9} {line}" if line else "")
        if self.live:
            sys.stderr.write("\n")


def clock(seconds: float) -> str:
    seconds = max(0, round(seconds))
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
