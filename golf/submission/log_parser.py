"""Parse training logs of the contest's script lineages: a table of patterns, one row for each fact.

Each lineage renames its final line (``final_int8_zlib_roundtrip``, ``legal_ttt``, ``quantized_ttt_phased``, ...). So a
score is any line that starts with a name and gives val_loss and val_bpb, and the last of them is the result. If the log
begins with a dump of the script, that section is skipped, because its source contains such lines too (the log parser of
PR #13 was misled by it). Of repeated facts the last one counts.

The text is untrusted. Each pattern scans it once, as a whole, in the regex engine: every repetition is bounded,
possessive or has a unique starting point, so that time is linear, however short or long the lines are. What Python
looks at one by one is bounded in number.
"""

import itertools
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from golf.submission.claims import ReportedNumber, parse_number

__all__ = ["FinalScore", "LoggedScore", "TrainingLog", "parse_log"]

_MAX_PREFIX_CHARS = 2000  # of a line before its score; a packed source is one line of 40,000
_MAX_SCORES, _MAX_SETTINGS = 5_000, 5_000  # the last and the first that are examined; real logs have some hundred
_MAX_CANDIDATES = 100  # last matches of a fact, of which the last that is a possible number counts
_MAX_CHARS_TO_SECONDS = 100  # between the word Hessians and the seconds that they took
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0}
_GAP = r"[^\S\n]*+"  # white space within a line
_NUMBER = r"([\d,]{1,40})"
_DURATION = r"([\d.]{1,40})"
_SECTION_SEPARATOR = re.compile(rf"(?m)^={{40,}}+{_GAP}$")
_PYTHON_IMPORT = re.compile(rf"(?m)^{_GAP}(?:import|from)(?!\S)")
_PYTHON_DEFINITION = re.compile(rf"(?m)^{_GAP}(?:def|class)(?!\S)")
_FACT_REGEXES = {  # a literal comes first where it can, which the engine finds fast
    "step": r"^(?:(?:step:)?(?=\d{1,20}/\d{1,20} \w{1,60}_loss)|stopping_early\b.{0,80}\bstep:[^\S\n]*+)"
    r"(\d{1,20})/\d",
    "train_seconds": rf"train_time:(?<=\btrain_time:){_GAP}{_DURATION}(ms|s|m)\b",
    "serialize_seconds": rf"\b(?:serialize|artifact_production)_wallclock[:=]{_GAP}{_DURATION}\s?(ms|s)\b",
    "eval_seconds": rf"^total_eval_time:{_GAP}{_DURATION}(ms|s)\b",
    "seed": rf"^{_GAP}seed:{_GAP}(\d{{1,20}}){_GAP}$",
    "train_shards": rf"train_shards:(?<=\btrain_shards:){_GAP}{_NUMBER}",
    "val_tokens": rf"^(?:val_tokens|val_loader:.*\btokens):{_GAP}{_NUMBER}",
    "model_params": rf"^model_params:{_GAP}{_NUMBER}",
    "world_size": rf"^{_GAP}world_size:{_GAP}(\d{{1,20}})",
    "model_bytes": rf"^Serialized model [^:\n]{{1,80}}:{_GAP}{_NUMBER}",
    "code_bytes": rf"^Code size(?: \((?!uncompressed)[^)\n]{{0,80}}\))?:{_GAP}{_NUMBER}",
    "raw_code_bytes": rf"^Code size \(uncompressed\):{_GAP}{_NUMBER}",
    "total_bytes": rf"^Total submission size [^:\n]{{1,80}}:{_GAP}{_NUMBER}",
    "unqualified_total_bytes": rf"^Total submission size:{_GAP}{_NUMBER}",  # mostly before quantization
}
_FACT_PATTERNS = {name: re.compile(f"(?m){pattern}") for name, pattern in _FACT_REGEXES.items()}
_HESSIANS = re.compile(r"(?i)\bcollected\b.{0,40}?\bhessians\b")
_HESSIAN_SECONDS = re.compile(r"(?<![\d.])([\d.]++)[^\S\n]?(ms|s)\b")
# A row of the table of nvidia-smi, which calls the SXM form "H100 80GB HBM3".
_GPU_PATTERN = re.compile(r"NVIDIA (?<=\bNVIDIA )([A-Z][\w-]{0,40}(?: [\w-]{1,40}){0,6}?)[^\S\n]{2}")
_VALUE_REGEX = r"(\d{1,9}\.\d{1,40}(?!\w)|[+-]?(?i:nan|inf(?:inity)?)\b)"
_SCORE_PATTERN = re.compile(
    rf"val_loss(?<=\bval_loss)[:=]{_GAP}{_VALUE_REGEX},?[^\S\n]++val_bpb[:=]{_GAP}{_VALUE_REGEX}"
)
_NONFINITE_PATTERN = re.compile(rf"(?:loss|bpb|time)[:=]{_GAP}[+-]?(?i:nan|inf(?:inity)?)\b")
_LAST_WORD = re.compile(r"\w*\Z")
_CRASH_PATTERN = re.compile(r"(?m)^Traceback \(most recent call last\)")
_EVAL_TIME_PATTERN = re.compile(rf"\b(?:eval_time|elapsed|t)[:=]{_GAP}{_DURATION}(ms|s)\b")
_INTERMEDIATE_PATTERN = re.compile(r"(?i)\d/\d|diagnostic|pre-?quant|post_ema|\bema\b|warm-?up")
_SETTING_PATTERN = re.compile(rf"(?m)^(?:[^\S\n]++(\w++):{_GAP}(.*)|(\w++:\S++(?:[^\S\n]\w++:\S++)*+))$")
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
    text = _drop_sources(text.replace("\r\n", "\n").replace("\r", "\n"))
    facts = {fact: value for fact in _FACT_PATTERNS if (value := _find_fact(fact, text)) is not None}
    if (hessian_seconds := _find_hessian_seconds(text)) is not None:
        facts["hessian_seconds"] = hessian_seconds
    scores, last_score_at = _find_scores(text)
    first_step = _FACT_PATTERNS["step"].search(text)
    gpus = deque(_GPU_PATTERN.finditer(text), maxlen=1)
    crashes = deque(_CRASH_PATTERN.finditer(text), maxlen=1)
    return TrainingLog(
        name,
        tuple(scores.values()),
        facts,
        _find_settings(text, first_step.start() if first_step else len(text)),
        gpus[0][1] if gpus else "",
        bool(crashes) and crashes[0].start() > last_score_at,
        _find_nonfinite(text),
    )


def _drop_sources(text: str) -> str:
    """The text without the sections, between rows of ``=`` signs, that are Python: with imports and definitions."""
    edges = [0, *itertools.chain.from_iterable(match.span() for match in _SECTION_SEPARATOR.finditer(text)), len(text)]
    if len(edges) == 2:
        return text
    sections = (text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
    return "".join(
        section for section in sections if not (_PYTHON_IMPORT.search(section) and _PYTHON_DEFINITION.search(section))
    )


def _find_fact(fact: str, text: str) -> float | None:
    return _last_number(deque(_FACT_PATTERNS[fact].finditer(text), maxlen=_MAX_CANDIDATES))


def _find_hessian_seconds(text: str) -> float | None:
    ends = deque((match.end() for match in _HESSIANS.finditer(text)), maxlen=_MAX_CANDIDATES)
    windows = (text[end : end + _MAX_CHARS_TO_SECONDS].partition("\n")[0] for end in ends)
    return _last_number([match for window in windows if (match := _HESSIAN_SECONDS.search(window))])


def _last_number(matches: Iterable[re.Match[str]]) -> float | None:
    """The last possible number among these matches' first groups, in seconds if the second group is a unit of time."""
    for match in reversed(list(matches)):
        if number := parse_number(match[1].replace(",", "")):
            return number.value * _SECONDS_PER_UNIT[match[2]] if match.re.groups == 2 else number.value
    return None


def _find_scores(text: str) -> tuple[dict[str, LoggedScore], int]:
    """The scores by name, and where the last one stands; -1 without any."""
    scores: dict[str, LoggedScore] = {}
    last_score_at = last_line_start = -1
    for match in deque(_SCORE_PATTERN.finditer(text), maxlen=_MAX_SCORES):
        earliest_start = max(0, match.start() - _MAX_PREFIX_CHARS)
        line_start = text.rfind("\n", earliest_start, match.start()) + 1 or earliest_start
        is_first_in_line = line_start != last_line_start and (line_start == 0 or text[line_start - 1] == "\n")
        last_line_start = line_start
        if is_first_in_line and (score := _parse_score(match, text[line_start : match.start()].strip())):
            _merge_score(scores, score)
            last_score_at = match.start()
    return scores, last_score_at


def _parse_score(match: re.Match[str], prefix: str) -> LoggedScore | None:
    """The score that ends an evaluation; None for a step, a diagnostic and any other line."""
    if not prefix[:1].isalpha() or _INTERMEDIATE_PATTERN.search(prefix):
        return None
    name = " ".join(word for word in prefix.split() if "=" not in word).removesuffix("_exact")
    loss, bpb = parse_number(match[1]), parse_number(match[2])
    for digits, number in ((match[1], loss), (match[2], bpb)):
        if digits[-1].isdigit() and not (number and number.value):
            return None  # zero or an absurd number: not a score
    rest = match.string[match.end() : match.end() + _MAX_PREFIX_CHARS].partition("\n")[0]
    time_match = _EVAL_TIME_PATTERN.search(rest) or _EVAL_TIME_PATTERN.search(prefix)
    return LoggedScore(name, loss, bpb, _last_number([time_match] if time_match else []))


def _merge_score(scores: dict[str, LoggedScore], new: LoggedScore) -> None:
    """Append a score. A line and its ``_exact`` copy make one score: the finer numbers, and the time of either."""
    old = scores.pop(new.name, new)
    finer = new
    if old.finite and new.finite and old.finite.bpb.resolution < new.finite.bpb.resolution:
        finer = old
    scores[new.name] = LoggedScore(new.name, finer.loss, finer.bpb, new.seconds or old.seconds)


def _find_nonfinite(text: str) -> str:
    """The first loss, bpb or time that is NaN or infinity, with the word that names it; "" without one."""
    match = _NONFINITE_PATTERN.search(text)
    if match is None:
        return ""
    word = _LAST_WORD.search(text[max(0, match.start() - 40) : match.start()])
    return f"{word[0] if word else ''}{match[0]}"


def _find_settings(text: str, end: int) -> dict[str, str]:
    """The hyperparameters before ``end``, ``  key: value`` or ``key:value key:value``, without those of the machine."""
    settings: dict[str, str] = {}
    for match in _SETTING_PATTERN.finditer(text, 0, end):
        pairs = [(match[1], match[2])] if match[1] else [word.split(":", 1) for word in match[3].split()]
        settings |= {key: value.strip() for key, value in pairs if not _MACHINE_SETTING_PATTERN.fullmatch(key)}
        if len(settings) >= _MAX_SETTINGS:
            break
    return settings
