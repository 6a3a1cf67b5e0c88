"""Hold what was read in a log: a run's facts, settings and scores, each with the line on which it stands."""

import re
from dataclasses import dataclass, field

from golf.submission.claims import ReportedNumber

__all__ = ["LoggedScore", "SourceDump", "TrainingLog", "parse_seeds_in_name"]

_SEED_IN_NAME = re.compile(r"(?i)seed[_\-=]?(\d{1,9})(?!\d)")
_SHORT_SEED_IN_NAME = re.compile(r"(?i)(?:^|[_\-./])s(\d{1,9})(?=[_\-./]|$)")


def parse_seeds_in_name(name: str) -> tuple[int | None, int | None]:
    """Return the seed in a file's path as ``seed42``, and as ``s42``; None where there is none. The last one counts."""
    matches = [list(pattern.finditer(name)) for pattern in (_SEED_IN_NAME, _SHORT_SEED_IN_NAME)]
    long_seed, short_seed = (int(seeds[-1][1]) if seeds else None for seeds in matches)
    return long_seed, short_seed


@dataclass(frozen=True, slots=True)
class LoggedScore:
    """The scores of one evaluation.

    name: of the pass, without ``_exact``. kind: "final" for a line that ends an evaluation, "step" for one of a
    training step, "diagnostic" for a model before quantization. loss: nats per token, None if the line gives none.
    Both are None if the script printed NaN or infinity. seconds: the script's own time. line: where it stands.
    aliases: other names under which the same pass was printed again.
    """

    name: str
    kind: str
    loss: ReportedNumber | None
    bpb: ReportedNumber | None
    seconds: float | None
    line: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDump:
    """A script that a log prints: its lines, and the line of the log on which it begins."""

    lines: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class TrainingLog:
    """One run in a log file.

    scores: the lines that end an evaluation, in order; a pass that is printed twice stands once. superseded: earlier
    scores of passes that were printed again with another value. other_scores: of training steps and diagnostics. facts:
    numbers by the names in ``patterns.FACT_PATTERNS``; lines: where they stand. settings: the hyperparameters as
    printed. crash: the line that reports an error after the last score, or "". first_nonfinite: the first loss, bpb or
    time that is NaN or infinity, as written, or "". val_in_train_line: where a loader of training data
    names val's shards, 0 if none does. index, n_runs: which of the runs in this file it is, from 1.
    """

    name: str
    scores: tuple[LoggedScore, ...] = ()
    superseded: tuple[LoggedScore, ...] = ()
    other_scores: tuple[LoggedScore, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    gpu: str = ""
    crash: str = ""
    crash_line: int = 0
    first_nonfinite: str = ""
    val_in_train_line: int = 0
    dumps: tuple[SourceDump, ...] = ()
    index: int = 1
    n_runs: int = 1

    @property
    def is_recognized(self) -> bool:
        """Whether the log is in a known format."""
        return bool(self.scores or self.other_scores or self.crash) or "step" in self.facts

    @property
    def finite_scores(self) -> list[LoggedScore]:
        """The final scores that are numbers."""
        return [score for score in self.scores if score.bpb]

    @property
    def final_score(self) -> LoggedScore | None:
        """The last score; None if there is none or if it is NaN or infinity."""
        return self.scores[-1] if self.scores and self.scores[-1].bpb else None

    @property
    def stated_seed(self) -> int | None:
        """The seed that the log's text states."""
        return int(self.facts["seed"]) if "seed" in self.facts else None

    @property
    def seed(self) -> int | None:
        """The seed that the log states, else the one in its file name."""
        if self.stated_seed is not None:
            return self.stated_seed
        long_seed, short_seed = parse_seeds_in_name(self.name)
        return short_seed if long_seed is None else long_seed

    @property
    def total_bytes(self) -> int | None:
        """The total size of the submission that the log states."""
        value = self.facts.get("total_bytes", self.facts.get("unqualified_total_bytes"))
        return None if value is None else int(value)

    @property
    def code_bytes(self) -> int | None:
        """The size of the code that the log counts."""
        value = self.facts.get("code_bytes", self.facts.get("raw_code_bytes"))
        return None if value is None else int(value)

    @property
    def training_s(self) -> float | None:
        """Seconds of training with calibration; None if the log gives no training time."""
        if "train_seconds" not in self.facts:
            return None
        return self.facts["train_seconds"] + self.facts.get("hessian_seconds", 0.0)

    @property
    def label(self) -> str:
        """The file, and which of its runs."""
        return self.name if self.n_runs == 1 else f"{self.name} run {self.index} of {self.n_runs}"

    def locate(self, *facts: str) -> str:
        """Return ``file:line`` of the first of these facts that the log states, else the file."""
        line = next((self.lines[fact] for fact in facts if fact in self.lines), 0)
        return f"{self.name}:{line}" if line else self.name
