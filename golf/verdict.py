"""What may be said of a run today: invalid where lineage shows it, else that the probes were not run."""


def of(artifact_splits: list[str], plan_splits: list[str]) -> str:
    """From the splits that influenced the artifact and the plan; the conditions are those of the challenge's #1017."""
    if "val" in artifact_splits:
        return "invalid: val is upstream of the artifact (C1, C3; the order of PRs #1485 and #1735)"
    if "val" in plan_splits:
        return "invalid: the plan for test-time training was made on val (C1)"
    if "unknown" in artifact_splits:
        return "NOT-RUN, and the artifact is of unknown origin"
    return "NOT-RUN"
