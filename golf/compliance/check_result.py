"""The result of one check: its status, what was measured, and the limit that it was compared with."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, ParamSpec

__all__ = [
    "FAIL",
    "NOT_RUN",
    "PASS",
    "UNRULED",
    "CheckResult",
    "Outcome",
    "Status",
    "pass_or_fail",
    "with_id",
]

Status = Literal["PASS", "FAIL", "UNRULED", "NOT-RUN"]
PASS: Status = "PASS"
FAIL: Status = "FAIL"
UNRULED: Status = "UNRULED"  # disputed in the contest's threads, never ruled on
NOT_RUN: Status = "NOT-RUN"
_Params = ParamSpec("_Params")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check function returns.

    measured, limit: figures with their units, formatted for people; "" where there are none. note: the reason for any
    status but PASS, with the thread's number where a matter is disputed.
    """

    status: Status
    measured: str = ""
    limit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A row of the verdict: the outcome of the check whose id is ``check``, such as "C1-a"."""

    check: str
    status: Status
    measured: str = ""
    limit: str = ""
    note: str = ""


def pass_or_fail(passed: bool, measured: str, limit: str, note: str = "") -> Outcome:
    """Return PASS or FAIL. ``note`` says what a failure means and is left out of a PASS."""
    return Outcome(PASS if passed else FAIL, measured, limit, "" if passed else note)


def with_id(check_id: str) -> Callable[[Callable[_Params, Outcome]], Callable[_Params, CheckResult]]:
    """Decorate a check function: its outcome becomes the result of the check ``check_id``."""

    def decorate(function: Callable[_Params, Outcome]) -> Callable[_Params, CheckResult]:
        @functools.wraps(function)
        def run(*args: _Params.args, **kwargs: _Params.kwargs) -> CheckResult:
            outcome = function(*args, **kwargs)
            return CheckResult(check_id, outcome.status, outcome.measured, outcome.limit, outcome.note)

        return run

    return decorate
