"""The training budget in seconds and steps.

The clock runs from the first real step to the last, waits for data and pauses included; compilation and warm-up come
before it.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from golf.artifacts import json_records
from golf.errors import BudgetExceededError

__all__ = ["TrainingBudget", "make_overrun_note", "read_remaining_s", "subtract_used"]


@dataclass
class TrainingBudget:
    """A limit on seconds, on steps, or on both; None is no limit. Progress is the larger share used.

    ``limit_s`` is what the loop may use: the training limit minus the reserve for calibration. ``used_before_s`` is
    what earlier processes of the same run used; time in which no process ran does not count.
    """

    limit_s: float | None
    max_steps: int | None
    used_before_s: float = 0.0
    started_at: float | None = field(default=None, init=False)

    def start(self) -> None:
        self.started_at = time.perf_counter()

    def elapsed_s(self) -> float:
        """Return the seconds used so far, by all processes of the run."""
        return self.used_before_s + (0.0 if self.started_at is None else time.perf_counter() - self.started_at)

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return the used share of the budget after ``step`` steps and ``elapsed_s`` seconds, in [0, 1]."""
        time_frac = elapsed_s / self.limit_s if self.limit_s else 0.0
        steps_frac = step / self.max_steps if self.max_steps else 0.0
        return min(1.0, max(time_frac, steps_frac))


def read_remaining_s(limit_s: float | None, *paths: str | Path) -> float | None:
    """Return the seconds of ``train.limit_s`` that the stages with these timing files left; None without a limit.

    Raises BudgetExceededError when none are left, ArtifactError when a file was edited or holds no
    possible number of seconds.
    """
    return subtract_used(limit_s, sum(_read_train_s(path) for path in paths))


def _read_train_s(path: str | Path) -> float:
    seconds: float = json_records.read_sealed(path, train_seconds=json_records.Seconds)["train_seconds"]
    return seconds


def subtract_used(limit_s: float | None, used_s: float) -> float | None:
    """Return the seconds of ``train.limit_s`` that are left after ``used_s``; None without a limit.

    Raises BudgetExceededError when none are left.
    """
    if limit_s is None:
        return None
    if used_s >= limit_s:
        raise BudgetExceededError(
            f"train.limit_s: {limit_s:g} s, but training used {used_s:g} s and left nothing for what follows; raise "
            "train.reserve_s and train again"
        )
    return limit_s - used_s


def make_overrun_note(limit_s: float | None, time_left_s: float | None, used_s: float) -> str:
    """Return a note for the summary of a stage that used more than training left of ``train.limit_s``, else nothing.

    time_left_s: seconds left when the stage began. used_s: seconds that the stage used.
    """
    if limit_s is None or time_left_s is None or used_s <= time_left_s:
        return ""
    total_s = limit_s - time_left_s + used_s
    return f"; training and calibration took {total_s:.1f} s, over train.limit_s = {limit_s:g} s: raise train.reserve_s"
