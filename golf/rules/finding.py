"""What one check found: its status, the figure that was measured, the limit that it was held against."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "FAIL", "UNRULED", "NOT-RUN"]
PASS, FAIL, UNRULED, NOT_RUN = "PASS", "FAIL", "UNRULED", "NOT-RUN"


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the verdict.

    check: its name, as "C1-a". measured, limit: figures with their units, as people read them; "" where there are none.
    note: the reason for what is no PASS, with the thread's number where a matter is disputed.
    """

    check: str
    status: Status
    measured: str = ""
    limit: str = ""
    note: str = ""


def judged(check: str, holds: bool, measured: str, limit: str, note: str = "") -> Finding:
    """PASS where it holds, else FAIL; ``note`` says what a failure means and is left out of a PASS."""
    return Finding(check, PASS if holds else FAIL, measured, limit, "" if holds else note)
