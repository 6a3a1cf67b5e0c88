"""What a training log says, over the lineages of scripts that wrote them: a table of patterns, one row a fact.

Each lineage renames its final line (``final_int8_zlib_roundtrip``, ``legal_ttt``, ``quantized_ttt_phased``, ...), so a
score is any line that names itself and gives val_loss and val_bpb, and the last of them is the result. A dump of the
script at the log's head is set aside first, as its text holds such lines too (the parser of PR #13 stumbled over that).
The last line of a fact stands. Every repetition in a pattern is bounded or can't start twice: the text is a stranger's.
"""

import re
from dataclasses import dataclass, field

from golf.submission.reported_number import ReportedNumber, parse_number

_MAX_LINE_CHARS = 2000  # characters of a line that are looked at: a packed source is one line of 40,000
_SECTION_SEPARATOR = re.compile(r"={40,}\s*")
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FACT_REGEXES = {
    "step": r"^(?:(?:step:)?(?=\d+/\d+ \w+_loss)|stopping_early\b.{0,80}\bstep:\s*)(\d+)/\d+",
    "train_seconds": r"\btrain_time:\s*([\d.]+)(ms|s|m)\b",
    "hessian_seconds": r"(?i)\bcollected\b.{0,40}\bhessians\b.{0,60}?([\d.]+)\s?(ms|s)\b",
    "serialise_seconds": r"\b(?:serialize|artifact_production)_wallclock[:=]\s*([\d.]+)\s?(ms|s)\b",
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
    "bare_total_bytes": r"^Total submission size:\s*([\d,]+)",  # of the weights before they were quantised, in most
}
_FACT_PATTERNS = {name: re.compile(pattern) for name, pattern in _FACT_REGEXES.items()}
# In nvidia-smi's table, which calls the SXM form "H100 80GB HBM3".
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
class LoggedScore:
    """A line that ends an evaluation. name: without ``_exact``. loss: nats a token. seconds: its own clock, or None.

    loss and bpb are None where what was written is no number.
    """

    name: str
    loss: ReportedNumber | None
    bpb: ReportedNumber | None
    seconds: float | None

    @property
    def is_finite(self) -> bool:
        return self.loss is not None and self.bpb is not None


@dataclass(frozen=True)
class TrainingLog:
    """scores: final ones in order. facts: numbers by the names of FACTS. settings: hyperparameters as printed. strange:
    the first loss, bpb or time in it that is no number, as written, or "".

    known: whether anything in it was understood. crashed: a traceback comes after the last score.
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
        return bool(self.scores) or "step" in self.facts

    @property
    def finite_scores(self) -> list[LoggedScore]:
        """The final scores that are numbers."""
        return [score for score in self.scores if score.is_finite]

    @property
    def final_score(self) -> LoggedScore | None:
        """The final score line; None where there is none, or where what it gives is no number."""
        return self.scores[-1] if self.scores and self.scores[-1].is_finite else None

    @property
    def seed(self) -> int | None:
        """The seed that it states, else the one in its file's name."""
        match = _SEED_IN_NAME_PATTERN.search(self.name)
        return int(self.facts["seed"]) if "seed" in self.facts else int(match[1]) if match else None

    @property
    def total_bytes(self) -> int | None:
        value = self.facts.get("total_bytes", self.facts.get("bare_total_bytes"))
        return None if value is None else int(value)


def parse_log(name: str, text: str) -> TrainingLog:
    """Any text gives a Log; one in which nothing was understood is not ``known``."""
    scores, facts, settings, gpu, has_crashed, first_nonfinite = {}, {}, {}, "", False, ""
    for line in (line for section in _split_sections(text) for line in section):
        if line.startswith("Traceback (most recent call last)"):
            has_crashed = True
        if score := _parse_score(line):
            _merge_score(scores, score)
            has_crashed = False
        facts |= {
            fact: value
            for fact, pattern in _FACT_PATTERNS.items()
            if (value := _match_number(pattern, line)) is not None
        }
        if "step" not in facts:
            settings |= _parse_settings(line)
        gpu = match[1] if (match := _GPU_PATTERN.search(line)) else gpu
        first_nonfinite = first_nonfinite or (match[1] if (match := _NONFINITE_PATTERN.search(line)) else "")
    return TrainingLog(name, tuple(scores.values()), facts, settings, gpu, has_crashed, first_nonfinite)


def _split_sections(text: str) -> list[list[str]]:
    """The lines between the rules of ``=`` signs, without the sections that are a script's source."""
    result = [[]]
    for line in text.splitlines():
        if _SECTION_SEPARATOR.fullmatch(line):
            result.append([])
        else:
            result[-1].append(line[:_MAX_LINE_CHARS])
    return result if len(result) == 1 else [section for section in result if not _is_python_source(section)]


def _is_python_source(section: list[str]) -> bool:
    """Whether these lines are Python: they import, and they define."""
    first_words = {line.split(maxsplit=1)[0] for line in section if line.strip()}
    return bool(first_words & {"import", "from"}) and bool(first_words & {"def", "class"})


def _match_number(pattern: re.Pattern, line: str) -> float | None:
    """What the pattern's first group holds, in seconds where the second is a unit of time."""
    match = pattern.search(line)
    parsed = parse_number(match[1].replace(",", "")) if match else None
    if parsed is None:
        return None
    return parsed.value * _SECONDS_PER_UNIT[match[2]] if pattern.groups == 2 else parsed.value


def _parse_score(line: str) -> LoggedScore | None:
    """The score that this line ends an evaluation with; None for a step's, a diagnostic's and any other line."""
    match = _SCORE_PATTERN.search(line)
    prefix = line[: match.start()].strip() if match else ""
    if not prefix[:1].isalpha() or _INTERMEDIATE_PATTERN.search(prefix):
        return None
    name = " ".join(word for word in prefix.split() if "=" not in word).removesuffix("_exact")
    numbers = [parse_number(word) for word in match.groups()]
    if any(
        word[-1].isdigit() and not (number and number.value)
        for word, number in zip(match.groups(), numbers, strict=True)
    ):
        return None
    return LoggedScore(name, *numbers, _match_number(_EVAL_TIME_PATTERN, line))


def _merge_score(scores: dict[str, LoggedScore], new: LoggedScore) -> None:
    """Put a score last. A line and its ``_exact`` twin make one score: the finer figures, the seconds of either."""
    old = scores.pop(new.name, new)
    finer = old if old.is_finite and new.is_finite and old.bpb.resolution < new.bpb.resolution else new
    scores[new.name] = LoggedScore(new.name, finer.loss, finer.bpb, new.seconds or old.seconds)


def _parse_settings(line: str) -> dict[str, str]:
    """Hyperparameters on this line, ``  key: value`` or ``key:value key:value``; none that only name the place."""
    match = _SETTING_PATTERN.fullmatch(line)
    if not match:
        return {}
    pairs = [(match[1], match[2])] if match[1] else [word.split(":", 1) for word in match[3].split()]
    return {key: value.strip() for key, value in pairs if not _MACHINE_SETTING_PATTERN.fullmatch(key)}
