"""Progress of long work: a live line on a terminal, a plain line every few seconds in a pipe; on rank 0 only."""

import shutil
import sys
import time


class Progress:
    """Writes lines like ``train  120/400 step  loss 3.1204  41 of 120 s  left 1m19s`` to stderr.

    total: how many units there are, None if unknown; limit_s: the time limit, None without one; quiet: write nothing.
    """

    def __init__(self, stage: str, total: int | None, unit: str, *, limit_s: float | None = None, quiet: bool = False):
        self._stage, self._total, self._unit, self._limit_s = stage, total, unit, limit_s
        self._quiet = quiet
        self._is_tty = sys.stderr.isatty()
        self._interval_s = 0.2 if self._is_tty else 5.0
        self.started_at = time.perf_counter()
        self._last_written_at = -1e9
        self._line_width = 0

    def update(self, completed: int, *, fraction: float | None = None, force: bool = False, **metrics: object) -> None:
        """Write a line, unless the last one was written a moment ago (``force``: in any case).

        fraction: progress in [0, 1]; None: completed / total. metrics: shown as ``name value`` in the given order.
        """
        now = time.perf_counter()
        if self._quiet or (now - self._last_written_at < self._interval_s and not force):
            return
        self._last_written_at = now
        elapsed_s = now - self.started_at
        fraction = fraction if fraction is not None else (completed / self._total if self._total else None)
        parts = [f"{completed:,}/{self._total:,} {self._unit}" if self._total else f"{completed:,} {self._unit}"]
        parts += [f"{name.replace('_', ' ')} {value}" for name, value in metrics.items()]
        parts.append(f"{elapsed_s:.0f} of {self._limit_s:.0f} s" if self._limit_s else f"{elapsed_s:.0f} s")
        if fraction and fraction > 0.01:
            parts.append(f"left {format_duration(elapsed_s / fraction - elapsed_s)}")
        self._write(f"{self._stage:<9} " + "  ".join(parts))

    def _write(self, text: str) -> None:
        if self._is_tty:
            text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line cannot be overwritten
            sys.stderr.write("\r" + text.ljust(self._line_width))
            self._line_width = len(text)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def finish(self, text: str = "") -> None:
        """End the live line and leave ``text`` in its place."""
        if self._quiet:
            return
        if text or self._is_tty:
            self._write(f"{self._stage:<9} {text}" if text else "")
        if self._is_tty:
            sys.stderr.write("\n")


def log_line(stage: str, text: str, *, quiet: bool = False) -> None:
    """Write one line of a stage to stderr, unless ``quiet``."""
    Progress(stage, None, "", quiet=quiet).finish(text)


def format_duration(seconds: float) -> str:
    """``1m19s``, or ``59s`` below a minute."""
    seconds = max(0, round(seconds))
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
