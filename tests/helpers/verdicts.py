"""A verdict for tests: every check passes except those that the test gives."""

from golf.compliance import verdict
from golf.compliance.catalog import CHECKS
from golf.compliance.check_result import PASS, CheckResult

CONTEST_LIMITS = {"limit_bytes": 16_000_000, "train_limit_seconds": 600.0, "eval_limit_seconds": 600.0}
HEADER = {"probe_seed": "ab", "predictor": "own:Predictor", "artifact_sha256": "0123456789abcdef"}


def make_passing_verdict(
    *changed: CheckResult,
    adapts: bool = False,
    comparable: bool = True,
    contamination: float | None = None,
    artifact_sha256: str = HEADER["artifact_sha256"],
    **limits: float | None,
) -> verdict.Verdict:
    """The verdict of a run that passes every check, with the results in ``changed`` in place of their checks'.

    limits: those that differ from the contest's.
    """
    results = {check_id: CheckResult(check_id, PASS, "1 of 1", "1") for check_id in CHECKS}
    results |= {result.check: result for result in changed}
    return verdict.make_verdict(
        list(results.values()),
        adapts=adapts,
        limits=CONTEST_LIMITS | limits,
        comparable=comparable,
        contamination=contamination,
        **HEADER | {"artifact_sha256": artifact_sha256},
    )
