"""Keep stages before evaluate from opening validation files (check C1-e)."""

import os
import sys
from typing import Any

from golf.errors import GolfError

__all__ = ["block_reads_below", "may_read_val"]


def may_read_val(stage: str, section: object) -> bool:
    """Return whether a stage may open val: fetch writes it, evaluate scores it, ttt reads it if ``ttt.stream`` is val.

    In that last case lineage carries val to the verdict. section: the stage's section of params.yaml.
    """
    return stage in ("fetch", "evaluate") or getattr(section, "stream", None) == "val"


def block_reads_below(stage: str, directory: str) -> None:
    """Make every later attempt of this process to open a file below ``directory`` raise GolfError.

    The check is an audit hook on Python's own opens and cannot be removed again. It stops mistakes, such as the wrong
    default by which a contest entry trained on val (PR #2127); it is no sandbox against native code.
    """
    blocked_prefix = os.path.abspath(directory) + os.sep
    blocked_name = os.path.basename(directory)

    def audit_hook(event: str, event_args: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(event_args[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(event_args[0])
        if blocked_name in path and os.path.abspath(path).startswith(blocked_prefix):
            raise GolfError(
                f"{stage} may not open {path}: only evaluate reads {blocked_name} (check C1-e); read train or dev"
            )

    sys.addaudithook(audit_hook)
