"""The one clock of training: from the first real step to the last, data waits and pauses included (design.md 2)."""

import time
from dataclasses import dataclass, field

from golf.ground import store
from golf.ground.errors import BadArtifact, OverBudget


@dataclass
class Clock:
    """Progress = the larger share used of seconds and of steps; ``limit_s`` None: steps alone, ``steps`` None: seconds.

    limit_s is what the loop may spend: the training limit less what is kept for calibration. used_s: what earlier
    processes of the same run spent; the time in which none was alive is nobody's.
    """

    limit_s: float | None
    steps: int | None
    used_s: float = 0.0
    began: float | None = field(default=None, init=False)

    def start(self) -> None:
        self.began = time.perf_counter()

    def seconds(self) -> float:
        return self.used_s + (0.0 if self.began is None else time.perf_counter() - self.began)

    def progress(self, step: int, seconds: float) -> float:
        """In [0, 1]: how far a run is that has made ``step`` steps in ``seconds``."""
        by_time = seconds / self.limit_s if self.limit_s else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return min(1.0, max(by_time, by_steps))


def left(limit_s: float | None, path) -> float | None:
    """Seconds of ``train.limit_s`` that training has not used, by its clock.json at ``path``; None without a limit.

    Raises OverBudget when there are none, BadArtifact when the file does not tell.
    """
    used = store.read_json(path).get("train_seconds")
    if not isinstance(used, int | float):
        raise BadArtifact(path, f"train_seconds must be a number, got {used!r}", store.RERUN)
    if limit_s is None:
        return None
    if used >= limit_s:
        raise OverBudget(
            f"train.limit_s: {limit_s:g} s, and training used {used:g} s: nothing is left to calibrate in; raise "
            f"train.reserve_s, what training leaves for it"
        )
    return limit_s - used
