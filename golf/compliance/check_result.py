"""What one check found: its status, the figure that was measured, the limit that it was held against."""

from dataclasses import dataclass
from typing import Literal

_Status = Literal["PASS", "FAIL", "UNRULED", "NOT-RUN"]
PASS, FAIL, UNRULED, NOT_RUN = "PASS", "FAIL", "UNRULED", "NOT-RUN"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A row of the verdict.

    check: its name, as "C1-a". measured, limit: figures with their units, as people read them; "" where there are none.
    note: the reason for what is no PASS, with the thread's number where a matter is disputed.
    """

    check: str
    status: _Status
    measured: str = ""
    limit: str = ""
    note: str = ""


def pass_or_fail(check: str, passed: bool, measured: str, limit: str, note: str = "") -> CheckResult:
    """PASS where it holds, else FAIL; ``note`` says what a failure means and is left out of a PASS."""
    return CheckResult(check, PASS if passed else FAIL, measured, limit, "" if passed else note)
