"""Progress of long work: a live line on a terminal, a plain line every few seconds in a pipe; on rank 0 only."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

__all__ = ["Progress", "call_repeatedly", "format_count", "format_duration", "log_compiling", "log_line"]

if TYPE_CHECKING:
    from golf.distributed.context import DistContext

_MIN_FRACTION = 0.01  # of the work in this process, from which the time left can be told


class Progress:
    """Writes lines like ``train  120/400 step  loss 3.1204  41 of 120 s  left 1m19s`` to stderr.

    total: how many units there are, None if unknown; limit_s: the time limit, None without one; quiet: write nothing.
    clock: the seconds that a line shows and that count against the limit; None: since now, pauses included.
    fraction_before: the share of the work that an earlier process did; the time left follows from the rest.
    """

    def __init__(
        self,
        stage: str,
        total: int | None,
        unit: str,
        *,
        limit_s: float | None = None,
        clock: Callable[[], float] | None = None,
        fraction_before: float = 0.0,
        quiet: bool = False,
    ):
        self._stage, self._total, self._unit, self._limit_s = stage, total, unit, limit_s
        self._fraction_before, self._quiet = fraction_before, quiet
        self._is_tty = sys.stderr.isatty()
        self._interval_s = 0.2 if self._is_tty else 5.0
        self._started_at = time.perf_counter()
        self._clock = clock or self._measure_own_s
        self._last_written_at = -1e9
        self._line_width = 0

    def elapsed_s(self) -> float:
        """Return the seconds that a line shows now."""
        return self._clock()

    def update(self, completed: int, *, fraction: float | None = None, force: bool = False, **metrics: object) -> None:
        """Write a line, unless the last one was written a moment ago (``force``: in any case).

        fraction: progress in [0, 1]; None: completed / total. metrics: shown as ``name value`` in the given order.
        """
        now = time.perf_counter()
        if self._quiet or (now - self._last_written_at < self._interval_s and not force):
            return
        self._last_written_at = now
        if self._total:
            completed = min(completed, self._total)  # the last batch of units may not be full
        elapsed_s = self.elapsed_s()
        parts = [f"{completed:,}/{self._total:,} {self._unit}" if self._total else f"{completed:,} {self._unit}"]
        parts += [f"{name.replace('_', ' ')} {value}" for name, value in metrics.items()]
        parts.append(f"{elapsed_s:.0f} of {self._limit_s:.0f} s" if self._limit_s else f"{elapsed_s:.0f} s")
        fraction = fraction if fraction is not None else (completed / self._total if self._total else 0.0)
        own_fraction = fraction - self._fraction_before
        if own_fraction > _MIN_FRACTION and fraction < 1:
            parts.append(f"left {format_duration(self._measure_own_s() / own_fraction * (1 - fraction))}")
        self._write(f"{self._stage:<9} " + "  ".join(parts))

    def _measure_own_s(self) -> float:
        return time.perf_counter() - self._started_at

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
    line = Progress(stage, None, "", quiet=quiet)
    line._line_width = shutil.get_terminal_size().columns - 1  # covers another Progress's live line
    line.finish(text)


@contextlib.contextmanager
def call_repeatedly(report: Callable[[], None], interval_s: float = 1.0) -> Iterator[None]:
    """Call ``report`` at once and every ``interval_s`` from a thread, while the block runs code that reports nothing.

    That code must leave Python's lock free, as most native code does.
    """
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(interval_s):
            report()

    report()
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def log_compiling(stage: str, ctx: "DistContext", note: str = "") -> None:
    """Say that torch.compile, which is silent, works now; nothing without compilation."""
    log_line(stage, f"compiling: about half a minute for each graph{note}", quiet=not (ctx.compile and ctx.is_main))


def format_count(n: int, noun: str, plural: str = "") -> str:
    """Return ``1 chunk`` or ``1,024 chunks``. plural: of a noun that takes more than an s."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Return ``1m19s``, or ``59s`` below a minute."""
    seconds = max(0, round(seconds))
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
