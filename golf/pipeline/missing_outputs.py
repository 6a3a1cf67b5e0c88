"""The message of an error about an artifact that is missing: which command makes it.

The readers of artifacts know no stage, so their hint is ``dvc checkout``. That restores nothing on a fresh clone, whose
cache is empty; ``dvc repro`` takes an artifact from the cache or makes it.
"""

import re
from pathlib import Path

from golf.errors import ArtifactError, GolfError

__all__ = ["describe_error"]

_STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
_OUTPUT = re.compile(rf"(?:\S*/)?artifacts/({'|'.join(_STAGES)})(?:/\S*)?")


def describe_error(error: GolfError) -> str:
    """Return the message, for a stage's output that does not exist with the command that makes it as its hint."""
    message = str(error)
    problem, separator, hint = message.rpartition("; ")
    if not isinstance(error, ArtifactError) or not separator or "dvc checkout" not in hint or "dvc repro" in hint:
        return message
    match = _OUTPUT.fullmatch(str(error.path))
    if match is None or Path(str(error.path)).exists():
        return message
    return f"{problem}; make it, or take it from DVC's cache, with: dvc repro {match[1]}"
