"""Whether the folder is whole and is one run: its files, its logs, their seeds, data and configuration."""

from golf.rules.finding import FAIL, NOT_RUN, PASS, UNRULED, Finding, judged
from golf.submission.evidence import Evidence
from golf.submission.logs import Log

REQUIRED = ("README.md", "submission.json", "train_gpt.py")
SHARED = ("train_shards", "val_tokens", "model_params", "world_size")


def files(evidence: Evidence) -> Finding:
    """What the challenge asks for is there (#505, #545, #2013), and nothing leads out of the folder (#2071)."""
    sizes = evidence.folder.sizes
    wrong = [f"no {name}" for name in REQUIRED if name not in sizes]
    wrong += [f"{name} is empty" for name in REQUIRED if sizes.get(name) == 0]
    wrong += ["no log"] * (not evidence.logs and not evidence.unread)
    wrong += [f"{refused}; put the file itself there" for refused in evidence.folder.refused]
    wrong += [evidence.damage] * bool(evidence.damage)
    return judged("files", not wrong, f"{len(sizes)} files", "all that is required", "; ".join(wrong))


def readable(evidence: Evidence) -> Finding:
    """Which logs were understood; a format that is not known is said to be unknown, and its log is no evidence."""
    measured = f"{len(evidence.logs)} understood, {len(evidence.unread)} not"
    strange = [f"{log.name}: {log.strange} is no number" for log in evidence.logs if log.strange]
    note = "; ".join([*evidence.unread, *strange, *evidence.notes])
    if evidence.unread or not evidence.logs:
        return Finding("logs", NOT_RUN, measured, "", note or "no log to read")
    return Finding("logs", PASS, measured, "", note)


def one_run(evidence: Evidence) -> Finding:
    """The logs are whole and of one configuration and one data set (#86, #1133, #1851, #2071, #2124)."""
    if not evidence.logs:
        return Finding("one run", NOT_RUN, "", "", "no log was understood")
    finished = {log.seed for log, _ in evidence.results() if not log.crashed}
    wrong = [f"{log.name}: ends in a traceback (#1133)" for log in evidence.logs if log.crashed]
    wrong += [
        f"{log.name}: no final score, cut short (#2071)"
        for log in evidence.logs
        if not log.scores and not log.crashed and (log.seed is None or log.seed not in finished)
    ]
    broken = [log for log in evidence.logs if log.scores and not log.scores[-1].sound]
    wrong += [f"{log.name}: the score of its final line, {log.scores[-1].name}, is no number" for log in broken]
    whole = [log for log in evidence.logs if log.result and "step" in log.facts]
    wrong += [f"{difference} (#1851, #2124)" for difference in differences(whole)]
    settings = len(set().union(*(log.settings for log in whole)))
    measured = f"{len(whole)} whole logs, {settings} settings compared"
    if not wrong and not settings:
        return Finding("one run", NOT_RUN, measured, "equal but the seed", "no whole log prints its settings")
    return judged("one run", not wrong, measured, "equal but the seed", "; ".join(wrong))


def differences(whole: list[Log]) -> list[str]:
    """Facts and hyperparameters in which logs differ, with each log's value; at most six are named."""
    stated = [
        {**log.settings, **{name: f"{log.facts[name]:.0f}" for name in SHARED if name in log.facts}} for log in whole
    ]
    keys = sorted(set().union(*stated))
    found = []
    for key in keys:
        values = {log.name: settings[key] for log, settings in zip(whole, stated, strict=True) if key in settings}
        if len(set(values.values())) > 1:
            found.append(f"{key}: " + ", ".join(f"{value[:40]} in {name}" for name, value in values.items()))
    return found[:6] + [f"and {len(found) - 6} more differ"] * (len(found) > 6)


def seeds(evidence: Evidence) -> Finding:
    """C4-d: each log its own seed, and the seeds of the json. That they were declared beforehand no file shows."""
    logged = [log.seed for log, _ in evidence.results() if log.seed is not None]
    listed = evidence.claims.listed
    measured = f"logs {written(logged)}; json {written(listed)}"
    wanted = "each once, in both"
    if not logged:
        return Finding("C4-d", NOT_RUN, measured, wanted, "no log with a final score states its seed")
    if listed and set(listed) != set(logged):
        apart = sorted(set(listed) ^ set(logged))
        return Finding("C4-d", FAIL, measured, wanted, f"only in one of them: {written(apart)}")
    if repeated := sorted({seed for seed in logged if logged.count(seed) > 1}):
        note = f"several logs of seed {written(repeated)}: say which is the submission's (C4-c)"
        return Finding("C4-d", UNRULED, measured, wanted, note)
    return Finding("C4-d", PASS, measured, wanted, "that no other seed was tried is not shown")


def written(seeds) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds)) or "none"
