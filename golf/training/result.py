"""Result of a training run: averages, logs, totals."""

from dataclasses import dataclass, field
from typing import Any

from golf.config.training import TrainConfig
from golf.training.ema import EMATracker

__all__ = ["TrainResult"]


@dataclass
class TrainResult:
    """Averages, logs and totals of a run."""

    ema: EMATracker
    log: list[dict[str, Any]] = field(default_factory=list)  # one row for each logged step
    dev_log: list[dict[str, Any]] = field(default_factory=list)  # rows of step, seconds, dev_loss
    steps: int = 0
    seconds: float = 0.0
    warmup_s: float = 0.0  # compilation and the steps it ran, before the training clock starts
    recurrent_from: int | None = None  # first step with recurrence
    context_tokens: int | None = None  # in force; None before the first step of a run with a context schedule
    context_switched_at: int | None = None  # first step with it; None before any switch

    def metrics(self, cfg: TrainConfig) -> dict[str, Any]:
        """Return the run's totals for metrics.json."""
        return {
            "steps": self.steps,
            "tokens": self.steps * cfg.batch_tokens,
            "recurrent_from_step": self.recurrent_from,
            "loss": self.log[-1]["loss"] if self.log else None,
            "dev_loss": self.dev_log[-1]["dev_loss"],
            "seconds": round(self.seconds, 3),
            "warmup_seconds": round(self.warmup_s, 3),
            "tokens_per_second": round(self.steps * cfg.batch_tokens / self.seconds, 1),
        }
