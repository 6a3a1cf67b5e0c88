"""The evaluation timer: the one place that says which seconds count against ``evaluate.limit_s``.

Counted are all seconds from the start of the command to the last score of the headline pass: imports, opening the
sandbox, compilation, warm-up, scores and updates. Excluded are the probes and the hashing of the predictor's state,
which check the predictor and are no part of scoring.
"""

import contextlib
import time
from collections.abc import Iterator

__all__ = ["EvalTimer"]


class EvalTimer:
    """Counts seconds from a start, except those that are excluded, and holds them against an optional limit.

    excluded_s: seconds excluded so far, without those of an ``excluded()`` block that is still open.
    """

    def __init__(self, started_at: float | None = None, limit_s: float | None = None) -> None:
        """started_at: when counting began, in seconds since the epoch; None is now. limit_s: None is no limit."""
        self._start = time.perf_counter() - (0.0 if started_at is None else time.time() - started_at)
        self._paused_at: float | None = None
        self.limit_s = limit_s
        self.excluded_s = 0.0

    @property
    def is_paused(self) -> bool:
        """Whether an ``excluded()`` block is open."""
        return self._paused_at is not None

    def counted_s(self) -> float:
        """Return the seconds since the start that are not excluded; stands still while the timer is paused."""
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return now - self._start - self.excluded_s

    def remaining_s(self) -> float | None:
        """Return the seconds until the limit, negative beyond it; None without a limit or while the timer is paused."""
        return None if self.limit_s is None or self.is_paused else self.limit_s - self.counted_s()

    def exclude(self, seconds: float) -> None:
        """Exclude seconds that were measured elsewhere, as the sandboxed process does for its state hashes."""
        self.excluded_s += seconds

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Pause the timer for a block, whether or not the block raises. Blocks may be nested."""
        if self._paused_at is not None:
            yield
            return
        self._paused_at = time.perf_counter()
        try:
            yield
        finally:
            self.excluded_s += time.perf_counter() - self._paused_at
            self._paused_at = None

    def lift_limit(self) -> None:
        """Remove the limit; called after the headline pass's last score."""
        self.limit_s = None
