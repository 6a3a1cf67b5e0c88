"""The message of an error about a stage's output that does not exist: it ends with the command that makes the output.

A reader's hint is ``dvc checkout`` where it names any command. That restores nothing on a fresh clone, whose cache is
empty; ``dvc repro`` takes an output from the cache or makes it.
"""

import re
from pathlib import Path

from golf.errors import ArtifactError, GolfError
from golf.pipeline.stage_names import STAGES

__all__ = ["describe_error"]

_OUTPUT = re.compile(rf"(?:\S*/)?artifacts/({'|'.join(STAGES)})(?:/\S*)?")


def describe_error(error: GolfError) -> str:
    """Return the message; where the error is about a stage's output that does not exist, with ``dvc repro STAGE``."""
    if isinstance(error, ArtifactError) and not Path(str(error.path)).exists():
        match = _OUTPUT.fullmatch(str(error.path))
        if match is not None:
            return f"{error}; if the cache lacks it: dvc repro {match[1]}"
    return str(error)
