"""Types of the values in params.yaml: what a key's annotation allows beyond its Python type."""

import unicodedata
from dataclasses import dataclass
from typing import Annotated

from golf.config.validation import Range

__all__ = [
    "Bytes",
    "Clip",
    "Count",
    "CountOrZero",
    "Epochs",
    "GradClip",
    "LearningRate",
    "LearningRateOrZero",
    "NonEmptyText",
    "Seconds",
    "SizeOrZero",
    "WeightDecay",
]

_MAX_TEXT_CHARS = 4096  # the longest path on Linux


@dataclass(frozen=True)
class _TextRule:
    """What ``Range`` is for numbers: text that can name a file, a repository or a module."""

    def contains(self, value: str) -> bool:
        return (
            len(value) <= _MAX_TEXT_CHARS
            and value.strip() != ""
            and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
        )

    def __str__(self) -> str:
        return f"text that is not blank, of at most {_MAX_TEXT_CHARS:,} characters, none of them a control character"


# A range ends where a value can no longer be meant or would overflow, not where it stops being wise.
NonEmptyText = Annotated[str, _TextRule()]
Count = Annotated[int, Range(low=1, high=1_000_000_000)]  # tokens, steps
CountOrZero = Annotated[int, Range(low=0, high=1_000_000_000)]
Bytes = Annotated[int, Range(low=1, high=1_000_000_000_000)]
SizeOrZero = Annotated[int, Range(low=0, high=1_000_000_000_000)]
Epochs = Annotated[int, Range(low=0, high=1000)]
Seconds = Annotated[float, Range(low=0.001, high=100_000_000)]  # three years
LearningRate = Annotated[float, Range(low=1e-9, high=100)]  # of an optimizer that must learn
LearningRateOrZero = Annotated[float, Range(low=0, high=100)]
WeightDecay = Annotated[float, Range(low=0, high=100)]
GradClip = Annotated[float, Range(low=1e-6, high=1_000_000)]
Clip = Annotated[float, Range(low=0.01, high=10_000)]  # standard deviations
