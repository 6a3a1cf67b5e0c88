"""The one clock of training: from the first real step to the last, data waits and pauses included (design.md 2)."""

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Progress = the larger share used of seconds and of steps; ``limit_s`` None: steps alone, ``steps`` None: seconds.

    limit_s is what the loop may spend: the training limit less what is kept for calibration.
    """

    limit_s: float | None
    steps: int | None
    began: float | None = field(default=None, init=False)

    def start(self) -> None:
        self.began = time.perf_counter()

    def seconds(self) -> float:
        return 0.0 if self.began is None else time.perf_counter() - self.began

    def progress(self, step: int, seconds: float) -> float:
        """In [0, 1]: how far a run is that has made ``step`` steps in ``seconds``."""
        by_time = seconds / self.limit_s if self.limit_s else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return min(1.0, max(by_time, by_steps))
