"""Parse training logs of the contest's script lineages: a table of patterns, one row for each fact.

Each lineage renames its final line (``final_int8_zlib_roundtrip``, ``legal_ttt``, ``quantized_ttt_phased``, ...). So a
score is any line that starts with a name and gives val_loss and val_bpb, and the last of them is the result. If the log
begins with a dump of the script, that section is skipped, because its source contains such lines too (the log parser of
PR #13 was misled by it). Of repeated facts the last one counts. The text is untrusted: every repetition in a pattern is
bounded or has a unique starting point, so matching takes linear time.
"""

import re
from dataclasses import dataclass, field

from golf.submission.claims import ReportedNumber, parse_number

__all__ = ["FinalScore", "LoggedScore", "TrainingLog", "parse_log"]

_MAX_LINE_CHARS = 2000  # of a line, the characters that are examined: a packed source is one line of 40,000
_SECTION_SEPARATOR = re.compile(r"={40,}\s*")
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FACT_REGEXES = {
    "step": r"^(?:(?:step:)?(?=\d+/\d+ \w+_loss)|stopping_early\b.{0,80}\bstep:\s*)(\d+)/\d+",
    "train_seconds": r"\btrain_time:\s*([\d.]+)(ms|s|m)\b",
    "hessian_seconds": r"(?i)\bcollected\b.{0,40}\bhessians\b.{0,60}?([\d.]+)\s?(ms|s)\b",
    "serialize_seconds": r"\b(?:serialize|artifact_production)_wallclock[:=]\s*([\d.]+)\s?(ms|s)\b",
    "eval_seconds": r"^total_eval_time:\s*([\d.]+)(ms|s)\b",
    "seed": r"^\s*seed:\s*(\d+)\s*$",
    "train_shards": r"\btrain_shards:\s*([\d,]+)",
    "val_tokens": r"^(?:val_tokens|val_loader:.*\btokens):\s*([\d,]+)",
    "model_params": r"^model_params:\s*([\d,]+)",
    "world_size": r"^\s*world_size:\s*(\d+)",
    "model_bytes": r"^Serialized model [^:]+:\s*([\d,]+)",
    "code_bytes": r"^Code size(?: \((?!uncompressed)[^)]*\))?:\s*([\d,]+)",
    "raw_code_bytes": r"^Code size \(uncompressed\):\s*([\d,]+)",
    "total_bytes": r"^Total submission size [^:]+:\s*([\d,]+)",
    "unqualified_total_bytes": r"^Total submission size:\s*([\d,]+)",  # mostly before quantization
}
_FACT_PATTERNS = {name: re.compile(pattern) for name, pattern in _FACT_REGEXES.items()}
# A row of the table of nvidia-smi, which calls the SXM form "H100 80GB HBM3".
_GPU_PATTERN = re.compile(r"\bNVIDIA ([A-Z][\w-]*(?: [\w-]+){0,6}?)\s{2,}")
_VALUE_REGEX = r"(\d+\.\d+(?!\w)|[+-]?(?i:nan|inf(?:inity)?)\b)"
_SCORE_PATTERN = re.compile(rf"\bval_loss[:=]\s*{_VALUE_REGEX},?\s+val_bpb[:=]\s*{_VALUE_REGEX}")
_NONFINITE_PATTERN = re.compile(r"\b(\w{0,40}(?:loss|bpb|time)[:=]\s*[+-]?(?i:nan|inf(?:inity)?))\b")
_EVAL_TIME_PATTERN = re.compile(r"\b(?:eval_time|elapsed|t)[:=]\s*([\d.]+)(ms|s)\b")
_INTERMEDIATE_PATTERN = re.compile(r"(?i)\d/\d|diagnostic|pre-?quant|post_ema|\bema\b|warm-?up")
_SETTING_PATTERN = re.compile(r"\s+(\w+):\s*(.*)|(\w+:\S+(?:\s\w+:\S+)*)")
_SEED_IN_NAME_PATTERN = re.compile(r"seed[_-]?(\d{1,9})(?!\d)")
_MACHINE_SETTING_PATTERN = re.compile(
    r"seed|run_id|(local_)?rank|log_?file|is_main_process|.*(path|dir|files?|root|device)"
)


@dataclass(frozen=True)
class FinalScore:
    """The scores of a line that ends an evaluation.

    name: without ``_exact``. loss: nats per token. seconds: the script's own time, None if the line gives none.
    """

    name: str
    loss: ReportedNumber
    bpb: ReportedNumber
    seconds: float | None


@dataclass(frozen=True)
class LoggedScore:
    """A line that ends an evaluation; loss and bpb are None if the script printed NaN or infinity."""

    name: str
    loss: ReportedNumber | None
    bpb: ReportedNumber | None
    seconds: float | None

    @property
    def finite(self) -> FinalScore | None:
        """This score if it is a number, else None."""
        if self.loss is None or self.bpb is None:
            return None
        return FinalScore(self.name, self.loss, self.bpb, self.seconds)


@dataclass(frozen=True)
class TrainingLog:
    """The contents of a log.

    scores: the lines that end an evaluation, in order. facts: numbers by the names in _FACT_REGEXES. settings: the
    hyperparameters as printed. has_crashed: a traceback follows the last score. first_nonfinite: the first loss, bpb or
    time that is NaN or infinity, as written, or "".
    """

    name: str
    scores: tuple[LoggedScore, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    gpu: str = ""
    has_crashed: bool = False
    first_nonfinite: str = ""

    @property
    def is_recognized(self) -> bool:
        """Whether the log is in a known format."""
        return bool(self.scores) or "step" in self.facts

    @property
    def finite_scores(self) -> list[FinalScore]:
        """The scores that are numbers."""
        return [finite for score in self.scores if (finite := score.finite)]

    @property
    def final_score(self) -> FinalScore | None:
        """The last score; None if there is none or if it is NaN or infinity."""
        return self.scores[-1].finite if self.scores else None

    @property
    def seed(self) -> int | None:
        """The seed that the log states, else the one in its file name."""
        if "seed" in self.facts:
            return int(self.facts["seed"])
        match = _SEED_IN_NAME_PATTERN.search(self.name)
        return int(match[1]) if match else None

    @property
    def total_bytes(self) -> int | None:
        """The total size of the submission that the log states."""
        value = self.facts.get("total_bytes", self.facts.get("unqualified_total_bytes"))
        return None if value is None else int(value)


def parse_log(name: str, text: str) -> TrainingLog:
    """Parse any text; if nothing in it is understood, the result's ``is_recognized`` is False."""
    scores: dict[str, LoggedScore] = {}
    facts: dict[str, float] = {}
    settings: dict[str, str] = {}
    gpu, has_crashed, first_nonfinite = "", False, ""
    for line in (line for section in _split_sections(text) for line in section):
        if line.startswith("Traceback (most recent call last)"):
            has_crashed = True
        if score := _parse_score(line):
            _merge_score(scores, score)
            has_crashed = False
        for fact, pattern in _FACT_PATTERNS.items():
            if (value := _match_number(pattern, line)) is not None:
                facts[fact] = value
        if "step" not in facts:
            settings |= _parse_settings(line)
        if match := _GPU_PATTERN.search(line):
            gpu = match[1]
        if not first_nonfinite and (match := _NONFINITE_PATTERN.search(line)):
            first_nonfinite = match[1]
    return TrainingLog(name, tuple(scores.values()), facts, settings, gpu, has_crashed, first_nonfinite)


def _split_sections(text: str) -> list[list[str]]:
    """The lines between rows of ``=`` signs, without the sections that are a script's source."""
    sections: list[list[str]] = [[]]
    for line in text.splitlines():
        if _SECTION_SEPARATOR.fullmatch(line):
            sections.append([])
        else:
            sections[-1].append(line[:_MAX_LINE_CHARS])
    return sections if len(sections) == 1 else [section for section in sections if not _is_python_source(section)]


def _is_python_source(section: list[str]) -> bool:
    """Whether these lines are Python: they contain imports and definitions."""
    first_words = {line.split(maxsplit=1)[0] for line in section if line.strip()}
    return bool(first_words & {"import", "from"}) and bool(first_words & {"def", "class"})


def _match_number(pattern: re.Pattern[str], line: str) -> float | None:
    """The number in the pattern's first group, converted to seconds if the second group is a unit of time."""
    match = pattern.search(line)
    number = parse_number(match[1].replace(",", "")) if match else None
    if match is None or number is None:
        return None
    return number.value * _SECONDS_PER_UNIT[match[2]] if pattern.groups == 2 else number.value


def _parse_score(line: str) -> LoggedScore | None:
    """The score with which this line ends an evaluation; None for a step, a diagnostic and any other line."""
    match = _SCORE_PATTERN.search(line)
    if match is None:
        return None
    prefix = line[: match.start()].strip()
    if not prefix[:1].isalpha() or _INTERMEDIATE_PATTERN.search(prefix):
        return None
    name = " ".join(word for word in prefix.split() if "=" not in word).removesuffix("_exact")
    loss, bpb = parse_number(match[1]), parse_number(match[2])
    for digits, number in ((match[1], loss), (match[2], bpb)):
        if digits[-1].isdigit() and not (number and number.value):
            return None  # zero or an absurd number: not a score
    return LoggedScore(name, loss, bpb, _match_number(_EVAL_TIME_PATTERN, line))


def _merge_score(scores: dict[str, LoggedScore], new: LoggedScore) -> None:
    """Append a score. A line and its ``_exact`` copy make one score: the finer numbers, and the time of either."""
    old = scores.pop(new.name, new)
    finer = new
    if old.finite and new.finite and old.finite.bpb.resolution < new.finite.bpb.resolution:
        finer = old
    scores[new.name] = LoggedScore(new.name, finer.loss, finer.bpb, new.seconds or old.seconds)


def _parse_settings(line: str) -> dict[str, str]:
    """The hyperparameters on this line, ``  key: value`` or ``key:value key:value``, without those of the machine."""
    match = _SETTING_PATTERN.fullmatch(line)
    if not match:
        return {}
    pairs = [(match[1], match[2])] if match[1] else [word.split(":", 1) for word in match[3].split()]
    return {key: value.strip() for key, value in pairs if not _MACHINE_SETTING_PATTERN.fullmatch(key)}
