"""Whether the folder is whole and is one run: its files, its logs, their seeds, data and configuration."""

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult, pass_or_fail
from golf.submission.contents import Submission
from golf.submission.log_parser import TrainingLog

REQUIRED_FILES = ("README.md", "submission.json", "train_gpt.py")
_SHARED_FACTS = ("train_shards", "val_tokens", "model_params", "world_size")


def check_files(submission: Submission) -> CheckResult:
    """What the challenge asks for is there (#505, #545, #2013), and nothing leads out of the folder (#2071)."""
    sizes = submission.folder.sizes
    problems = [f"no {name}" for name in REQUIRED_FILES if name not in sizes]
    problems += [f"{name} is empty" for name in REQUIRED_FILES if sizes.get(name) == 0]
    problems += ["no log"] * (not submission.logs and not submission.unread_logs)
    problems += [f"{rejection}; put the file itself there" for rejection in submission.folder.rejected]
    problems += [submission.json_error] * bool(submission.json_error)
    return pass_or_fail("files", not problems, f"{len(sizes)} files", "all that is required", "; ".join(problems))


def check_logs(submission: Submission) -> CheckResult:
    """Which logs were understood; a format that is not known is said to be unknown, and its log is no evidence."""
    measured = f"{len(submission.logs)} understood, {len(submission.unread_logs)} not"
    nonfinite = [f"{log.name}: {log.first_nonfinite} is no number" for log in submission.logs if log.first_nonfinite]
    note = "; ".join([*submission.unread_logs, *nonfinite, *submission.notes])
    if submission.unread_logs or not submission.logs:
        return CheckResult("logs", NOT_RUN, measured, "", note or "no log to read")
    return CheckResult("logs", PASS, measured, "", note)


def check_same_run(submission: Submission) -> CheckResult:
    """The logs are whole and of one configuration and one data set (#86, #1133, #1851, #2071, #2124)."""
    if not submission.logs:
        return CheckResult("one run", NOT_RUN, "", "", "no log was understood")
    finished_seeds = {log.seed for log, _ in submission.scored_logs() if not log.has_crashed}
    problems = [f"{log.name}: ends in a traceback (#1133)" for log in submission.logs if log.has_crashed]
    problems += [
        f"{log.name}: no final score, cut short (#2071)"
        for log in submission.logs
        if not log.scores and not log.has_crashed and (log.seed is None or log.seed not in finished_seeds)
    ]
    nonfinite_logs = [log for log in submission.logs if log.scores and not log.scores[-1].is_finite]
    problems += [
        f"{log.name}: the score of its final line, {log.scores[-1].name}, is no number" for log in nonfinite_logs
    ]
    complete_logs = [log for log in submission.logs if log.final_score and "step" in log.facts]
    problems += [f"{difference} (#1851, #2124)" for difference in _find_differences(complete_logs)]
    n_settings = len(set().union(*(log.settings for log in complete_logs)))
    measured = f"{len(complete_logs)} whole logs, {n_settings} settings compared"
    if not problems and not n_settings:
        return CheckResult("one run", NOT_RUN, measured, "equal but the seed", "no whole log prints its settings")
    return pass_or_fail("one run", not problems, measured, "equal but the seed", "; ".join(problems))


def _find_differences(complete_logs: list[TrainingLog]) -> list[str]:
    """Facts and hyperparameters in which logs differ, with each log's value; at most six are named."""
    settings_by_log = [
        {**log.settings, **{name: f"{log.facts[name]:.0f}" for name in _SHARED_FACTS if name in log.facts}}
        for log in complete_logs
    ]
    keys = sorted(set().union(*settings_by_log))
    mismatches = []
    for key in keys:
        values = {
            log.name: settings[key]
            for log, settings in zip(complete_logs, settings_by_log, strict=True)
            if key in settings
        }
        if len(set(values.values())) > 1:
            mismatches.append(f"{key}: " + ", ".join(f"{value[:40]} in {name}" for name, value in values.items()))
    return mismatches[:6] + [f"and {len(mismatches) - 6} more differ"] * (len(mismatches) > 6)


def check_seeds(submission: Submission) -> CheckResult:
    """C4-d: each log its own seed, and the seeds of the json. That they were declared beforehand no file shows."""
    logged_seeds = [log.seed for log, _ in submission.scored_logs() if log.seed is not None]
    listed_seeds = submission.claims.listed_seeds
    measured = f"logs {_format_seeds(logged_seeds)}; json {_format_seeds(listed_seeds)}"
    limit = "each once, in both"
    if not logged_seeds:
        return CheckResult("C4-d", NOT_RUN, measured, limit, "no log with a final score states its seed")
    if listed_seeds and set(listed_seeds) != set(logged_seeds):
        unmatched_seeds = sorted(set(listed_seeds) ^ set(logged_seeds))
        return CheckResult("C4-d", FAIL, measured, limit, f"only in one of them: {_format_seeds(unmatched_seeds)}")
    if repeated_seeds := sorted({seed for seed in logged_seeds if logged_seeds.count(seed) > 1}):
        note = f"several logs of seed {_format_seeds(repeated_seeds)}: say which is the submission's (C4-c)"
        return CheckResult("C4-d", UNRULED, measured, limit, note)
    return CheckResult("C4-d", PASS, measured, limit, "that no other seed was tried is not shown")


def _format_seeds(seeds) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds)) or "none"
