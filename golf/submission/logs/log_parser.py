"""Parse training logs of the contest's script lineages, by the table in ``patterns``.

Each lineage renames its final line (``final_int8_zlib_roundtrip``, ``legal_ttt``, ``quantized_ttt_phased``, ...). So a
score is any line that starts with a name and gives val_loss and val_bpb, and the last of them is the result. A dump of
the script is cut out first, because its source contains such lines too (the log parser of PR #13 was misled by it). Of
repeated facts the last one counts. What Python looks at one by one is bounded in number.
"""

import dataclasses
import re
from collections import deque
from collections.abc import Iterable

from golf.submission.claims import parse_number
from golf.submission.logs import patterns, runs, source_dumps
from golf.submission.logs.training_log import LoggedScore, TrainingLog

__all__ = ["parse_lines"]

_MAX_PREFIX_CHARS = 2000  # of a line before its score; a packed source is one line of 40,000
_MAX_SCORES, _MAX_SETTINGS = 5_000, 5_000  # the last and the first that are examined; real logs have some hundred
_MAX_CANDIDATES = 100  # last matches of a fact, of which the last that is a possible number counts
_MAX_CHARS_TO_SECONDS = 100  # between the word Hessians and the seconds that they took
_MAX_RUNS = 50  # of one file, the last; nobody reads more
_MAX_MENTIONS = 1_000
_SAME_PASS_SECONDS = 2.0  # by which the times of one pass, printed by two functions, may differ, or 5 %
_MIN_VAL_TOKENS = 1000  # a smaller number is a limit of 0 for "all", or of a batch
_LAST_WORD = re.compile(r"\w*\Z")
_VOLATILE_VALUE = re.compile(r"[\d.]+(?:ms|s|m|min|MB|MiB|GB|GiB)|\d+/\d+")


class _Lines:
    """Line numbers of positions that are asked for in ascending order."""

    def __init__(self, text: str, first_line: int) -> None:
        self._text, self._position, self._line = text, 0, first_line

    def number(self, position: int) -> int:
        if position >= self._position:
            self._line += self._text.count("\n", self._position, position)
        else:
            self._line -= self._text.count("\n", position, self._position)
        self._position = position
        return self._line


def parse_lines(name: str, text: str) -> list[TrainingLog]:
    """Return the runs of a text as ``decoding.normalize_lines`` returns it, in order; at least one.

    If nothing in it is understood, no run's ``is_recognized`` is True.
    """
    text, dumps = source_dumps.cut_sources(text)
    first_lines, spans, line, position = [], runs.split_runs(text), 1, 0
    for start, _ in spans:
        line += text.count("\n", position, start)
        position = start
        first_lines.append(line)
    parsed = [
        _parse_run(name, text[start:end], first_line)
        for (start, end), first_line in list(zip(spans, first_lines, strict=True))[-_MAX_RUNS:]
    ]
    recognized = [run for run in parsed if run.is_recognized] or parsed[-1:]
    return [
        dataclasses.replace(run, index=index, n_runs=len(recognized), dumps=tuple(dumps))
        for index, run in enumerate(recognized, start=1)
    ]


def _parse_run(name: str, text: str, first_line: int) -> TrainingLog:
    line_of = _Lines(text, first_line)
    facts: dict[str, float] = {}
    lines: dict[str, int] = {}
    lower_text = text.lower()
    for fact, pattern in patterns.FACT_PATTERNS.items():
        if patterns.FACT_WORDS[fact] not in lower_text:
            continue
        number = _get_last_number(deque(pattern.finditer(text), maxlen=_MAX_CANDIDATES))
        if number and not (fact == "val_tokens" and number[0] < _MIN_VAL_TOKENS):
            facts[fact], lines[fact] = number[0], line_of.number(number[1])
    if number := _find_hessian_s(text):
        facts["hessian_seconds"], lines["hessian_seconds"] = number[0], line_of.number(number[1])
    finals, superseded, others, last_score_at = _find_scores(text, line_of)
    first_step = patterns.FACT_PATTERNS["step"].search(text)
    gpus = deque(patterns.GPU.finditer(text), maxlen=1)
    crash = next((match for match in patterns.CRASH.finditer(text, max(0, last_score_at))), None)
    val_in_train = patterns.VAL_IN_TRAIN.search(text)
    return TrainingLog(
        name,
        tuple(finals),
        tuple(superseded),
        tuple(others),
        facts,
        lines,
        _find_settings(text, first_step.start() if first_step else len(text)),
        gpus[0][1] if gpus else "",
        crash[0].strip()[-100:] if crash else "",
        line_of.number(crash.start()) if crash else 0,
        _find_nonfinite(text),
        line_of.number(val_in_train.start()) if val_in_train else 0,
    )


def _find_hessian_s(text: str) -> tuple[float, int] | None:
    ends = deque((match.end() for match in patterns.HESSIANS.finditer(text)), maxlen=_MAX_CANDIDATES)
    for end in reversed(ends):
        window = text[end : end + _MAX_CHARS_TO_SECONDS].partition("\n")[0]
        if (match := patterns.HESSIAN_SECONDS.search(window)) and (number := _get_last_number([match])):
            return number[0], end
    return None


def _get_last_number(matches: Iterable[re.Match[str]]) -> tuple[float, int] | None:
    """The last possible number among these matches, with its position; in seconds if a unit of time follows it."""
    for match in reversed(list(matches)):
        digits, unit = (*(group for group in match.groups() if group is not None), "")[:2]
        if number := parse_number(digits.replace(",", "").replace("_", "")):
            return number.value * patterns.SECONDS_PER_UNIT.get(unit.lower(), 1.0), match.start()
    return None


def _find_scores(text: str, line_of: _Lines) -> tuple[list[LoggedScore], list[LoggedScore], list[LoggedScore], int]:
    """The final scores, those that were printed again with another value, all others, and where the last final ends."""
    finals: dict[str, LoggedScore] = {}
    superseded: list[LoggedScore] = []
    others: list[LoggedScore] = []
    last_score_at = last_line_start = -1
    for match in deque(patterns.SCORE.finditer(text), maxlen=_MAX_SCORES):
        earliest_start = max(0, match.start() - _MAX_PREFIX_CHARS)
        line_start = text.rfind("\n", earliest_start, match.start()) + 1 or earliest_start
        is_first_in_line = line_start != last_line_start and (line_start == 0 or text[line_start - 1] == "\n")
        last_line_start = line_start
        prefix = text[line_start : match.start()].strip()
        if not is_first_in_line or (score := _parse_score(match, prefix, line_of.number(match.start()))) is None:
            continue
        if score.kind != "final":
            others.append(score)
            continue
        superseded += _add_final(finals, score)
        last_score_at = match.end()
    others += _find_mentions(text, line_of, {score.line for score in (*finals.values(), *superseded, *others)})
    return [*finals.values()], superseded, others, last_score_at


def _parse_score(match: re.Match[str], prefix: str, line: int) -> LoggedScore | None:
    """The score on a line; None for a line of code and for numbers that are no scores."""
    loss_digits, bpb_digits = (match[1], match[2]) if match[1] else (match[4], match[3])
    loss, bpb = parse_number(loss_digits), parse_number(bpb_digits)
    for digits, number in ((loss_digits, loss), (bpb_digits, bpb)):
        if digits[-1].isdigit() and not (number and number.value):
            return None  # zero or an absurd number: not a score
    if patterns.STEP_PREFIX.match(prefix):
        return LoggedScore(prefix.rstrip(" |:-"), "step", loss, bpb, None, line) if loss and bpb else None
    if not prefix[:1].isalpha():
        return None
    rest = match.string[match.end() : match.end() + _MAX_PREFIX_CHARS].partition("\n")[0]
    time_match = patterns.EVAL_SECONDS.search(rest) or patterns.EVAL_SECONDS.search(prefix)
    seconds = _get_last_number([time_match] if time_match else [])
    name = " ".join(word for word in prefix.split() if "=" not in word).rstrip(":,|-").removesuffix("_exact")
    kind = "diagnostic" if patterns.INTERMEDIATE_NAME.search(prefix) else "final"
    if not loss or not bpb:
        return LoggedScore(name, kind, None, None, None, line) if kind == "final" else None
    return LoggedScore(name, kind, loss, bpb, seconds[0] if seconds else None, line)


def _add_final(finals: dict[str, LoggedScore], new: LoggedScore) -> list[LoggedScore]:
    """Append a score; return those of the same name that it replaces because their values differ.

    A line and its ``_exact`` copy make one score, as do two lines in a row that give one pass under two names: the
    finer numbers, and the longer of the two times.
    """
    replaced: list[LoggedScore] = []
    if old := finals.pop(new.name, None):
        if _is_same_value(old, new):
            new = _merge(old, new)
        else:
            replaced.append(old)
    last = next(reversed(finals.values()), None)
    if last and _is_same_value(last, new) and _is_same_time(last, new):
        del finals[last.name]
        new = _merge(last, new)
    finals[new.name] = new
    return replaced


def _merge(old: LoggedScore, new: LoggedScore) -> LoggedScore:
    """One pass that was printed twice: the finer numbers, the longer time, the last name."""
    is_old_finer = bool(old.bpb and new.bpb and old.bpb.resolution < new.bpb.resolution)
    names = dict.fromkeys((*old.aliases, old.name, *new.aliases))
    aliases = tuple(name for name in names if name != new.name)
    seconds = max((one.seconds for one in (old, new) if one.seconds is not None), default=None)
    return dataclasses.replace(old if is_old_finer else new, name=new.name, aliases=aliases, seconds=seconds)


def _is_same_value(old: LoggedScore, new: LoggedScore) -> bool:
    if old.bpb is None or new.bpb is None or old.loss is None or new.loss is None:
        return False
    if old.bpb.resolution == new.bpb.resolution and old.loss.resolution == new.loss.resolution:
        return (old.bpb.value, old.loss.value) == (new.bpb.value, new.loss.value)
    return old.bpb.matches(new.bpb) and old.loss.matches(new.loss)


def _is_same_time(old: LoggedScore, new: LoggedScore) -> bool:
    """Whether two lines with equal scores can be one pass; without a time they are, and with six equal decimals."""
    if old.seconds is None or new.seconds is None:
        return True
    if old.bpb and new.bpb and max(old.bpb.resolution, new.bpb.resolution) <= 1e-6:
        return True
    return abs(old.seconds - new.seconds) <= max(_SAME_PASS_SECONDS, 0.05 * max(old.seconds, new.seconds))


def _find_mentions(text: str, line_of: _Lines, known_lines: set[int]) -> list[LoggedScore]:
    """Numbers called bpb on other lines, so that a claim that is none of the scores can be traced."""
    mentions = []
    for match in deque(patterns.BARE_MENTION.finditer(text), maxlen=_MAX_MENTIONS):
        line, number = line_of.number(match.start()), parse_number(match[1])
        if line not in known_lines and number and number.value:
            mentions.append(LoggedScore("", "mention", None, number, None, line))
    return mentions


def _find_nonfinite(text: str) -> str:
    """The first loss, bpb or time that is NaN or infinity, with the word that names it; "" without one."""
    match = patterns.NONFINITE.search(text)
    if match is None:
        return ""
    word = _LAST_WORD.search(text[max(0, match.start() - 40) : match.start()])
    return f"{word[0] if word else ''}{match[0]}"


def _find_settings(text: str, end: int) -> dict[str, str]:
    """The hyperparameters before ``end``, ``  key: value`` or ``key:value key:value``, without those of the machine."""
    settings: dict[str, str] = {}
    for match in patterns.SETTING.finditer(text, 0, end):
        is_row = match[1] is None
        pairs = [word.split(":", 1) for word in match[3].split()] if is_row else [(match[1], match[2])]
        settings |= {
            key: value.strip()
            for key, value in pairs
            if not patterns.MACHINE_SETTING.fullmatch(key)
            and not (is_row and (patterns.MEASUREMENT.fullmatch(key) or _VOLATILE_VALUE.fullmatch(value)))
        }
        if len(settings) >= _MAX_SETTINGS:
            break
    return settings
