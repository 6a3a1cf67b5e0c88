"""The one clock of training: from the first real step to the last, data waits and pauses included (design.md 2)."""

import time
from dataclasses import dataclass, field

from golf.artifacts import io
from golf.errors import ArtifactError, BudgetExceededError


@dataclass
class TrainingBudget:
    """Progress = the larger share used of seconds and of steps; ``limit_s`` None: steps alone, ``steps`` None: seconds.

    limit_s is what the loop may spend: the training limit less what is kept for calibration. used_s: what earlier
    processes of the same run spent; the time in which none was alive is nobody's.
    """

    limit_s: float | None
    max_steps: int | None
    used_before_s: float = 0.0
    started_at: float | None = field(default=None, init=False)

    def start(self) -> None:
        self.started_at = time.perf_counter()

    def elapsed_s(self) -> float:
        return self.used_before_s + (0.0 if self.started_at is None else time.perf_counter() - self.started_at)

    def progress(self, step: int, elapsed_s: float) -> float:
        """In [0, 1]: how far a run is that has made ``step`` steps in ``seconds``."""
        time_frac = elapsed_s / self.limit_s if self.limit_s else 0.0
        steps_frac = step / self.max_steps if self.max_steps else 0.0
        return min(1.0, max(time_frac, steps_frac))


def seconds_left(limit_s: float | None, path) -> float | None:
    """Seconds of ``train.limit_s`` that training has not used, by its clock.json at ``path``; None without a limit.

    Raises OverBudget when there are none, BadArtifact when the file does not tell.
    """
    used_s = io.read_json(path).get("train_seconds")
    if not isinstance(used_s, int | float):
        raise ArtifactError(path, f"train_seconds must be a number, got {used_s!r}", io.RERUN_HINT)
    if limit_s is None:
        return None
    if used_s >= limit_s:
        raise BudgetExceededError(
            f"train.limit_s: {limit_s:g} s, and training used {used_s:g} s: nothing is left to calibrate in; raise "
            f"train.reserve_s, what training leaves for it"
        )
    return limit_s - used_s
