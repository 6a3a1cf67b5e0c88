"""All checks of ``golf doctor``: one line each as it is made, and what follows from them."""

import json
from collections.abc import Iterator

from golf.cli.doctor import machine_checks, project_checks
from golf.cli.doctor.finding import NOTE, PROBLEM, MachineFinding
from golf.config import loader
from golf.errors import ConfigError
from golf.pipeline.progress import format_count

__all__ = ["report_machine"]

_FORMAT_VERSION = 1  # of the object with as_json


def report_machine(*, as_json: bool) -> tuple[str, bool]:
    """Print a line a check as it is made; return what is printed at the end, and whether there is a problem.

    as_json: print nothing before; the text is then an object with all findings.
    """
    findings = []
    for finding in _iter_findings():
        findings.append(finding)
        if not as_json:
            print(finding.render(), flush=True)
    counts = {status: sum(finding.status == status for finding in findings) for status in (PROBLEM, NOTE)}
    has_problem = counts[PROBLEM] > 0
    if as_json:
        checks = [finding.to_dict() for finding in findings]
        report = {"version": _FORMAT_VERSION, "can_run": not has_problem, "checks": checks}
        return json.dumps(report, indent=2), has_problem
    n_notes, n_problems = (format_count(n, status) for status, n in reversed(counts.items()))
    answer = f"can't work here: {n_problems}, {n_notes}" if has_problem else f"works here: {n_notes}"
    return f"make run {answer}", has_problem


def _iter_findings() -> Iterator[MachineFinding]:
    """Run every check. One that can't be made is a finding too; it keeps no other from being made."""
    try:
        cfg = loader.load_config()
    except ConfigError:  # check_params says so
        cfg = None
    checks = {
        "system": project_checks.check_system,
        "packages": project_checks.check_packages,
        "programs": project_checks.check_programs,
        "params": project_checks.check_params,
        "dvc": project_checks.check_dvc,
        "disk": project_checks.check_disk,
        "cores": machine_checks.check_cores,
        "gpu": machine_checks.check_gpu,
        "attention": machine_checks.check_attention,
        "compiler": machine_checks.check_compiler,
        "dtype": machine_checks.check_dtype,
        "fence": machine_checks.check_fence,
        "index": project_checks.check_index,
        "hub": project_checks.check_hub,
    }
    for name, check in checks.items():
        try:
            yield check(cfg)
        except ImportError as error:
            yield MachineFinding(
                name, PROBLEM, f"can't import what it needs: {error}", "install golf's packages: make run"
            )
        except Exception as error:  # whatever a driver, a compiler or the system raises
            reason = " ".join(str(error).split()) or type(error).__name__
            yield MachineFinding(name, NOTE, f"NOT-RUN: {reason}")
