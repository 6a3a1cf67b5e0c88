"""Hold what every check of a submission reads: the folder, the headline, and the selected logs."""

from dataclasses import dataclass

from golf.submission.contents import Submission
from golf.submission.headline import Headline, HeadlineRow, find_headline
from golf.submission.logs.training_log import TrainingLog
from golf.submission.record_margin import RecordMargin

__all__ = ["Review", "format_seeds", "group_logs", "open_review"]

_MAX_LISTED_SEEDS = 6


@dataclass(frozen=True)
class Review:
    """The input of the checks.

    logs: those of the headline, with the training logs of their seeds in other files; without a headline all.
    """

    submission: Submission
    headline: Headline
    logs: tuple[TrainingLog, ...]
    margin: RecordMargin | None

    @property
    def rows(self) -> tuple[HeadlineRow, ...]:
        """The logs and passes of the headline."""
        return self.headline.rows

    @property
    def other_logs(self) -> list[TrainingLog]:
        """The logs that are not selected."""
        return [log for log in self.submission.logs if log not in self.logs]

    def facts(self, name: str) -> dict[str, float]:
        """Return one fact of the selected logs, by the labels of those that state it."""
        return {log.label: log.facts[name] for log in self.logs if name in log.facts}

    @property
    def json(self) -> str:
        """The name of the file that was read as submission.json."""
        return self.submission.json_name or "submission.json"


def open_review(submission: Submission, margin: RecordMargin | None = None) -> Review:
    """Find the headline and select its logs."""
    headline = find_headline(submission)
    selected = list(headline.logs)
    seeds_without_training = {log.seed for log in selected if "train_seconds" not in log.facts and log.seed is not None}
    selected += [
        log
        for log in submission.logs
        if log not in selected and not log.scores and not log.crash and log.seed in seeds_without_training
    ]
    return Review(submission, headline, tuple(selected or submission.logs), margin)


def format_seeds(seeds: list[int] | set[int] | tuple[int, ...]) -> str:
    """Return the seeds, sorted; of many the first and how many more; "none" for none."""
    listed = sorted(seeds)
    more = [f"and {len(listed) - _MAX_LISTED_SEEDS:,} more"] * (len(listed) > _MAX_LISTED_SEEDS)
    return ", ".join([*map(str, listed[:_MAX_LISTED_SEEDS]), *more]) or "none"


def group_logs(values: dict[str, str]) -> str:
    """Return ``80 in a.log and b.log, 39 in c.log``: each value once, with the logs that give it, by {log: value}."""
    logs_by_value: dict[str, list[str]] = {}
    for log, value in values.items():
        logs_by_value.setdefault(value, []).append(log)
    parts = []
    for value, logs in logs_by_value.items():
        named = " and ".join(logs) if len(logs) <= 2 else f"{logs[0]} and {len(logs) - 1} more"
        parts.append(f"{value[:40]} in {named}")
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more values" if len(parts) > 4 else "")
