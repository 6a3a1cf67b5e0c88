"""The evaluation timer: the one place that says which seconds count against ``evaluate.limit_s``.

Counted are all seconds from the start of the command to the last score of the headline pass: imports, opening the
sandbox, compilation, warm-up, scores and updates. What comes after it, the other modes, the proof and the ablations,
is no part of the score and has no limit.
"""

import time

__all__ = ["EvalTimer"]


class EvalTimer:
    """Counts seconds from a start, and holds them against an optional limit."""

    def __init__(self, started_at: float | None = None, limit_s: float | None = None) -> None:
        """started_at: when counting began, in seconds since the epoch; None is now. limit_s: None is no limit."""
        self._start = time.perf_counter() - (0.0 if started_at is None else time.time() - started_at)
        self.limit_s = limit_s

    def counted_s(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._start

    def remaining_s(self) -> float | None:
        """Return the seconds until the limit, negative beyond it; None without a limit."""
        return None if self.limit_s is None else self.limit_s - self.counted_s()

    def lift_limit(self) -> None:
        """Remove the limit; called after the last score."""
        self.limit_s = None
