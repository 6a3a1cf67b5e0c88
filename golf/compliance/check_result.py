"""The result of one check: its status, what was measured, and the limit that it was compared with."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "FAIL", "UNRULED", "NOT-RUN"]
PASS: Status = "PASS"
FAIL: Status = "FAIL"
UNRULED: Status = "UNRULED"  # disputed in the contest's threads, never ruled on
NOT_RUN: Status = "NOT-RUN"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A row of the verdict.

    check: its id, such as "C1-a". measured, limit: figures with their units, formatted for people; "" where there are
    none. note: the reason for any status but PASS, with the thread's number where a matter is disputed.
    """

    check: str
    status: Status
    measured: str = ""
    limit: str = ""
    note: str = ""


def pass_or_fail(check: str, passed: bool, measured: str, limit: str, note: str = "") -> CheckResult:
    """PASS or FAIL. ``note`` says what a failure means and is left out of a PASS."""
    return CheckResult(check, PASS if passed else FAIL, measured, limit, "" if passed else note)
