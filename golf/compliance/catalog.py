"""The catalog: all checks of the verdict by id, in the field guide's order."""

from golf.compliance import (  # noqa: F401 - their import registers the checks
    ablation_checks,
    metric_checks,
    proof_checks,
    provenance_checks,
    registry,
    unruled_checks,
)
from golf.compliance.check_result import CheckResult
from golf.compliance.context import EvaluationContext

__all__ = ["CHECKS", "run_checks"]

CHECKS = registry.list_checks()


def run_checks(context: EvaluationContext) -> list[CheckResult]:
    """Return every check's result, in order. Raises ArtifactError when the saved ledger was changed."""
    return [spec.run(context) for spec in CHECKS.values()]
