"""Registry of checks: ``@check`` registers a function from an evaluation's context to the outcome in the verdict.

Ids are those of the field guide to the four conditions (openai/parameter-golf, issue #1017). For each check,
docs/evaluation-rules.md says what it proves and what it cannot see. To add a check, write one decorated function in a
module that ``golf.compliance.catalog`` imports, and one row in that document.
"""

from collections.abc import Callable
from dataclasses import dataclass

from golf.compliance.check_result import CheckResult, Outcome, with_id
from golf.compliance.context import EvaluationContext

__all__ = ["CheckSpec", "check", "list_checks"]

_GROUPS = ("C1", "C2", "C3", "C4", "M", "B", "U")  # causality, distribution, score first, one pass; metric, budget, ...
_CheckFunction = Callable[[EvaluationContext], Outcome]


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """A registered check.

    required_for_record: a record needs this check to pass. essential: without its result the verdict is NOT-RUN.
    run: the check function, whose outcome carries the id.
    """

    check_id: str
    title: str
    required_for_record: bool
    essential: bool
    run: Callable[[EvaluationContext], CheckResult]

    @property
    def docs_link(self) -> str:
        return f"docs/evaluation-rules.md#{self.check_id.lower()}"


_registered: dict[str, CheckSpec] = {}


def check(
    check_id: str, title: str, *, required: bool, essential: bool = False
) -> Callable[[_CheckFunction], _CheckFunction]:
    """Register the decorated function as the check ``check_id``.

    required: a record needs it to pass. essential: without its result the verdict is NOT-RUN.
    Raises ValueError for an id of no known group or one that is taken.
    """

    def register(function: _CheckFunction) -> _CheckFunction:
        if check_id.partition("-")[0] not in _GROUPS or check_id in _registered:
            raise ValueError(f"check {check_id}: the id must be new and of one of the groups {', '.join(_GROUPS)}")
        _registered[check_id] = CheckSpec(check_id, title, required, essential, with_id(check_id)(function))
        return function

    return register


def list_checks() -> dict[str, CheckSpec]:
    """Return the checks registered so far by id, in the field guide's order. For all of them: ``catalog.CHECKS``."""

    def position(check_id: str) -> tuple[int, str]:
        group, _, letter = check_id.partition("-")
        return _GROUPS.index(group), letter

    return {check_id: _registered[check_id] for check_id in sorted(_registered, key=position)}
