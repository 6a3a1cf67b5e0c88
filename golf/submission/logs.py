"""What a training log says, over the lineages of scripts that wrote them: a table of patterns, one row a fact.

Each lineage renames its final line (``final_int8_zlib_roundtrip``, ``legal_ttt``, ``quantized_ttt_phased``, ...), so a
score is any line that names itself and gives val_loss and val_bpb, and the last of them is the result. A dump of the
script at the log's head is set aside first, as its text holds such lines too (the parser of PR #13 stumbled over that).
The last line of a fact stands. Every repetition in a pattern is bounded or can't start twice: the text is a stranger's.
"""

import re
from dataclasses import dataclass, field

from golf.submission.figure import Figure, figure

LONGEST = 2000  # characters of a line that are looked at: a packed source is one line of 40,000
RULE = re.compile(r"={40,}\s*")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
FACTS = {
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
PATTERNS = {name: re.compile(pattern) for name, pattern in FACTS.items()}
# In nvidia-smi's table, which calls the SXM form "H100 80GB HBM3".
GPU = re.compile(r"\bNVIDIA ([A-Z][\w-]*(?: [\w-]+){0,6}?)\s{2,}")
VALUE = r"(\d+\.\d+(?!\w)|[+-]?(?i:nan|inf(?:inity)?)\b)"
SCORE = re.compile(rf"\bval_loss[:=]\s*{VALUE},?\s+val_bpb[:=]\s*{VALUE}")
NO_NUMBER = re.compile(r"\b(\w{0,40}(?:loss|bpb|time)[:=]\s*[+-]?(?i:nan|inf(?:inity)?))\b")
TOOK = re.compile(r"\b(?:eval_time|elapsed|t)[:=]\s*([\d.]+)(ms|s)\b")
NOT_FINAL = re.compile(r"(?i)\d/\d|diagnostic|pre-?quant|post_ema|\bema\b|warm-?up")
SETTING = re.compile(r"\s+(\w+):\s*(.*)|(\w+:\S+(?:\s\w+:\S+)*)")
NAMED_SEED = re.compile(r"seed[_-]?(\d{1,9})(?!\d)")
OF_THE_PLACE = re.compile(r"seed|run_id|(local_)?rank|log_?file|is_main_process|.*(path|dir|files?|root|device)")


@dataclass(frozen=True)
class Score:
    """A line that ends an evaluation. name: without ``_exact``. loss: nats a token. seconds: its own clock, or None.

    loss and bpb are None where what was written is no number.
    """

    name: str
    loss: Figure | None
    bpb: Figure | None
    seconds: float | None

    @property
    def sound(self) -> bool:
        return self.loss is not None and self.bpb is not None


@dataclass(frozen=True)
class Log:
    """scores: final ones in order. facts: numbers by the names of FACTS. settings: hyperparameters as printed. strange:
    the first loss, bpb or time in it that is no number, as written, or "".

    known: whether anything in it was understood. crashed: a traceback comes after the last score.
    """

    name: str
    scores: tuple[Score, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    gpu: str = ""
    crashed: bool = False
    strange: str = ""

    @property
    def known(self) -> bool:
        return bool(self.scores) or "step" in self.facts

    @property
    def passes(self) -> list[Score]:
        """The final scores that are numbers."""
        return [score for score in self.scores if score.sound]

    @property
    def result(self) -> Score | None:
        """The final score line; None where there is none, or where what it gives is no number."""
        return self.scores[-1] if self.scores and self.scores[-1].sound else None

    @property
    def seed(self) -> int | None:
        """The seed that it states, else the one in its file's name."""
        named = NAMED_SEED.search(self.name)
        return int(self.facts["seed"]) if "seed" in self.facts else int(named[1]) if named else None

    @property
    def total_bytes(self) -> int | None:
        found = self.facts.get("total_bytes", self.facts.get("bare_total_bytes"))
        return None if found is None else int(found)


def parse(name: str, text: str) -> Log:
    """Any text gives a Log; one in which nothing was understood is not ``known``."""
    scores, facts, settings, gpu, crashed, strange = {}, {}, {}, "", False, ""
    for line in (line for section in sections(text) for line in section):
        if line.startswith("Traceback (most recent call last)"):
            crashed = True
        if score := final_score(line):
            keep(scores, score)
            crashed = False
        facts |= {fact: value for fact, pattern in PATTERNS.items() if (value := number(pattern, line)) is not None}
        if "step" not in facts:
            settings |= setting(line)
        gpu = found[1] if (found := GPU.search(line)) else gpu
        strange = strange or (found[1] if (found := NO_NUMBER.search(line)) else "")
    return Log(name, tuple(scores.values()), facts, settings, gpu, crashed, strange)


def sections(text: str) -> list[list[str]]:
    """The lines between the rules of ``=`` signs, without the sections that are a script's source."""
    found = [[]]
    for line in text.splitlines():
        if RULE.fullmatch(line):
            found.append([])
        else:
            found[-1].append(line[:LONGEST])
    return found if len(found) == 1 else [section for section in found if not source(section)]


def source(section: list[str]) -> bool:
    """Whether these lines are Python: they import, and they define."""
    starts = {line.split(maxsplit=1)[0] for line in section if line.strip()}
    return bool(starts & {"import", "from"}) and bool(starts & {"def", "class"})


def number(pattern: re.Pattern, line: str) -> float | None:
    """What the pattern's first group holds, in seconds where the second is a unit of time."""
    found = pattern.search(line)
    read = figure(found[1].replace(",", "")) if found else None
    if read is None:
        return None
    return read.value * SECONDS[found[2]] if pattern.groups == 2 else read.value


def final_score(line: str) -> Score | None:
    """The score that this line ends an evaluation with; None for a step's, a diagnostic's and any other line."""
    found = SCORE.search(line)
    head = line[: found.start()].strip() if found else ""
    if not head[:1].isalpha() or NOT_FINAL.search(head):
        return None
    name = " ".join(word for word in head.split() if "=" not in word).removesuffix("_exact")
    read = [figure(word) for word in found.groups()]
    if any(word[-1].isdigit() and not (one and one.value) for word, one in zip(found.groups(), read, strict=True)):
        return None
    return Score(name, *read, number(TOOK, line))


def keep(scores: dict[str, Score], new: Score) -> None:
    """Put a score last. A line and its ``_exact`` twin make one score: the finer figures, the seconds of either."""
    old = scores.pop(new.name, new)
    best = old if old.sound and new.sound and old.bpb.unit < new.bpb.unit else new
    scores[new.name] = Score(new.name, best.loss, best.bpb, new.seconds or old.seconds)


def setting(line: str) -> dict[str, str]:
    """Hyperparameters on this line, ``  key: value`` or ``key:value key:value``; none that only name the place."""
    found = SETTING.fullmatch(line)
    if not found:
        return {}
    pairs = [(found[1], found[2])] if found[1] else [word.split(":", 1) for word in found[3].split()]
    return {key: value.strip() for key, value in pairs if not OF_THE_PLACE.fullmatch(key)}
