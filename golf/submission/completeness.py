"""Checks that a submission is complete and is one run: its files, its logs, their seeds, data and settings."""

from collections.abc import Iterable

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, Outcome, pass_or_fail, with_id
from golf.submission.contents import Submission
from golf.submission.log_parser import TrainingLog

__all__ = ["REQUIRED_FILES", "check_files", "check_logs", "check_same_run", "check_seeds"]

REQUIRED_FILES = ("README.md", "submission.json", "train_gpt.py")
_SHARED_FACTS = ("train_shards", "val_tokens", "model_params", "world_size")
_MAX_LISTED_DIFFERENCES = 6
_MAX_LISTED_SEEDS = 12


@with_id("files")
def check_files(submission: Submission) -> Outcome:
    """Check that the required files are present (#505, #545, #2013) and that no link leaves the folder (#2071)."""
    sizes = submission.folder.sizes
    problems = [f"no {name}" for name in REQUIRED_FILES if name not in sizes]
    problems += [f"{name} is empty" for name in REQUIRED_FILES if sizes.get(name) == 0]
    problems += ["no log"] * (not submission.logs and not submission.unread_logs)
    problems += [f"{rejection}; replace it with the file itself" for rejection in submission.folder.rejected]
    problems += [submission.json_error] * bool(submission.json_error)
    return pass_or_fail(not problems, f"{len(sizes)} files", "all required files", "; ".join(problems))


@with_id("logs")
def check_logs(submission: Submission) -> Outcome:
    """Check that all logs are in a known format; a log in an unknown format is named and is not evidence."""
    measured = f"{len(submission.logs)} understood, {len(submission.unread_logs)} not"
    nonfinite = [f"{log.name}: {log.first_nonfinite} is not a number" for log in submission.logs if log.first_nonfinite]
    note = "; ".join([*submission.unread_logs, *nonfinite, *submission.notes])
    if submission.unread_logs or not submission.logs:
        return Outcome(NOT_RUN, measured, "", note or "there is no log")
    return Outcome(PASS, measured, "", note)


@with_id("one run")
def check_same_run(submission: Submission) -> Outcome:
    """Check that the logs are complete and share their settings and data (#86, #1133, #1851, #2071, #2124)."""
    if not submission.logs:
        return Outcome(NOT_RUN, "", "", "no log is in a known format")
    finished_seeds = {log.seed for log, _ in submission.scored_logs() if not log.has_crashed}
    problems = [f"{log.name}: ends in a traceback (#1133)" for log in submission.logs if log.has_crashed]
    problems += [
        f"{log.name}: cut short, has no final score (#2071)"
        for log in submission.logs
        if not log.scores and not log.has_crashed and (log.seed is None or log.seed not in finished_seeds)
    ]
    problems += [
        f"{log.name}: its final score, {log.scores[-1].name}, is not a number"
        for log in submission.logs
        if log.scores and not log.final_score
    ]
    complete_logs = [log for log in submission.logs if log.final_score and "step" in log.facts]
    problems += [f"{difference} (#1851, #2124)" for difference in _find_differences(complete_logs)]
    n_settings = len({name for log in complete_logs for name in log.settings})
    measured, limit = f"{len(complete_logs)} complete logs, {n_settings} settings compared", "equal except the seed"
    if not problems and not n_settings:
        return Outcome(NOT_RUN, measured, limit, "no complete log prints its settings")
    return pass_or_fail(not problems, measured, limit, "; ".join(problems))


def _find_differences(complete_logs: list[TrainingLog]) -> list[str]:
    """Facts and settings in which the logs differ, with the value in each log; at most six are listed."""
    settings_by_log = [
        {**log.settings, **{name: f"{log.facts[name]:.0f}" for name in _SHARED_FACTS if name in log.facts}}
        for log in complete_logs
    ]
    values_by_key: dict[str, dict[str, str]] = {}
    for log, settings in zip(complete_logs, settings_by_log, strict=True):
        for key, value in settings.items():
            values_by_key.setdefault(key, {})[log.name] = value
    differing_keys = sorted(key for key, values in values_by_key.items() if len(set(values.values())) > 1)
    differences = [
        f"{key[:80]}: " + ", ".join(f"{value[:40]} in {name}" for name, value in values_by_key[key].items())
        for key in differing_keys[:_MAX_LISTED_DIFFERENCES]
    ]
    n_unlisted = len(differing_keys) - _MAX_LISTED_DIFFERENCES
    return differences + [f"{n_unlisted} more settings differ"] * (n_unlisted > 0)


@with_id("C4-d")
def check_seeds(submission: Submission) -> Outcome:
    """Check that each log has its own seed, and submission.json lists the same seeds.

    Files can't show that the seeds were declared before the runs.
    """
    logged_seeds = [log.seed for log, _ in submission.scored_logs() if log.seed is not None]
    listed_seeds = submission.claims.listed_seeds
    measured = f"logs {_format_seeds(logged_seeds)}; json {_format_seeds(listed_seeds)}"
    limit = "each once, in both"
    if not logged_seeds:
        return Outcome(NOT_RUN, measured, limit, "no log with a final score states its seed")
    if listed_seeds and set(listed_seeds) != set(logged_seeds):
        unmatched_seeds = set(listed_seeds) ^ set(logged_seeds)
        return Outcome(FAIL, measured, limit, f"in only one of them: {_format_seeds(unmatched_seeds)}")
    if repeated_seeds := {seed for seed in logged_seeds if logged_seeds.count(seed) > 1}:
        note = f"several logs of seed {_format_seeds(repeated_seeds)}: state which one is the submission's (C4-c)"
        return Outcome(UNRULED, measured, limit, note)
    return Outcome(PASS, measured, limit, "does not show that no other seed was tried")


def _format_seeds(seeds: Iterable[int]) -> str:
    listed = sorted(seeds)
    more = [f"and {len(listed) - _MAX_LISTED_SEEDS:,} more"] * (len(listed) > _MAX_LISTED_SEEDS)
    return ", ".join([*map(str, listed[:_MAX_LISTED_SEEDS]), *more]) or "none"
