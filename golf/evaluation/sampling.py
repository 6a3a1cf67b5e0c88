"""Draw tokens from next-token distributions, and turn tokens into text as they come."""

# V vocabulary

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from golf.data import caseops
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError

__all__ = ["SamplingConfig", "TextStream", "TokenSampler"]

_MAX_TOKENS = 1_000_000  # of one generation
_TITLE, _CAPS, _NEXT, _ESCAPE = caseops.OPERATORS
_CASEOPS_UNIT = re.compile(
    f"{_ESCAPE}([{''.join(caseops.OPERATORS)}])|{_CAPS}([a-z]+)|[{_TITLE}{_NEXT}]([a-z])|[{''.join(caseops.OPERATORS)}]"
)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How tokens are drawn.

    max_tokens: after which generation ends. temperature: the exponent of probabilities is 1 / temperature; 0 takes the
    most probable token. top_p: tokens are drawn from the smallest set of most probable ones that holds this share of
    the probability (nucleus sampling, docs/references.md#nucleus-sampling). seed: of the random numbers.
    Raises InputError for a value out of range.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int

    def __post_init__(self) -> None:
        for problem in self._find_problems():
            raise InputError(problem)

    def _find_problems(self) -> Iterator[str]:
        if not 1 <= self.max_tokens <= _MAX_TOKENS:
            yield f"max_tokens must be between 1 and {_MAX_TOKENS:,}, got {self.max_tokens}"
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            yield f"temperature must be a finite number of at least 0, got {self.temperature}; 0 is greedy"
        if not 0 < self.top_p <= 1:
            yield f"top_p must be above 0 and at most 1, got {self.top_p}; 1 keeps every token"
        if self.seed < 0:
            yield f"seed must be at least 0, got {self.seed}"


class TokenSampler:
    """Draws tokens. The same distributions and seed give the same tokens."""

    def __init__(self, cfg: SamplingConfig) -> None:
        self._cfg, self._rng = cfg, np.random.default_rng(cfg.seed)

    def draw(self, probs_V: np.ndarray) -> int:
        """Return one token. probs_V: float64 [V], at least 0, not all of them 0; they need not sum to 1."""
        likeliest = int(probs_V.argmax())
        if self._cfg.temperature == 0:
            return likeliest
        with np.errstate(divide="ignore", over="ignore"):  # log 0 and a quotient beyond fp64 are -inf, whose exp is 0
            exponents = (np.log(probs_V) - np.log(probs_V[likeliest])) / self._cfg.temperature
        tempered = np.exp(exponents)
        order = np.argsort(-tempered, kind="stable")
        sums = np.cumsum(tempered[order])
        if self._cfg.top_p < 1:
            sums = sums[: int(np.searchsorted(sums, self._cfg.top_p * sums[-1])) + 1]
        row = int(np.searchsorted(sums, self._rng.random() * sums[-1], side="right"))
        return int(order[min(row, len(sums) - 1)])


class TextStream:
    """The text of one document's tokens, given out as soon as later tokens can't change it.

    Bytes that are no UTF-8 become U+FFFD. A CaseOps operator where ``caseops.encode`` writes none, which a model may
    generate all the same, is left out.
    """

    def __init__(self, tokenizer: Tokenizer, transform_name: str, *, is_continued: bool) -> None:
        """is_continued: the document has text before the first token that is added."""
        self._tokenizer, self._has_operators = tokenizer, transform_name == "caseops"
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_first = not is_continued
        self._word, self._n_given = "", 0  # the encoded text from the last space on, the decoded characters given of it

    def add(self, token: int, *, is_last: bool = False) -> str:
        """Return the text that is complete with this token, "" for none. is_last: complete all, as no token follows."""
        piece = self._tokenizer.ids_to_bytes(np.array([token]))[0]
        text = self._decoder.decode(piece, is_last)
        if self._is_first and text:
            text, self._is_first = text.removeprefix(" "), False  # the dummy prefix of models that add one
        return self._apply_operators(text) if self._has_operators else text

    def _apply_operators(self, text: str) -> str:
        """An operator acts on letters of its own word, so the text before the last space is done with."""
        self._word += text
        decoded = _CASEOPS_UNIT.sub(lambda unit: unit[1] or (unit[2] or unit[3] or "").upper(), self._word)
        new, self._n_given = decoded[self._n_given :], len(decoded)
        if " " in self._word:
            self._word = self._word[self._word.rindex(" ") :]
            self._n_given = len(decoded) - decoded.rindex(" ")
        return new
