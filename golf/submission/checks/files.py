"""Checks that the files and the logs of a submission are there and complete."""

from golf.pipeline.progress import format_count
from golf.submission.checks.review import Review, format_seeds
from golf.submission.executed_sources import SCRIPT_NAME
from golf.submission.findings import CLERICAL, CONTRADICTS, CheckOutcome, Finding, list_names
from golf.submission.logs.training_log import TrainingLog

__all__ = ["check_files", "check_logs"]


def check_files(review: Review) -> CheckOutcome:
    """Check that the required files are there under their names (#505, #545, #2013), as plain files (#2071)."""
    submission = review.submission
    sizes, sources = submission.folder.sizes, submission.sources
    read_as = {
        "README.md": submission.readme_name,
        "submission.json": submission.json_name,
        SCRIPT_NAME: sources.script,
    }
    findings = []
    for name, file in read_as.items():
        if not file:
            findings.append(Finding(CLERICAL, f"no {name}"))
        elif file != name:
            others = [candidate for candidate in sources.candidates if candidate != file] if name == SCRIPT_NAME else []
            choice = f"; {list_names(others)} could be meant too" if others else ""
            findings.append(Finding(CLERICAL, f"no {name}: {file} is read in its place{choice}"))
        elif not sizes[file]:
            findings.append(Finding(CLERICAL, f"{file} is empty"))
    if not submission.logs and not submission.unread_logs:
        findings.append(Finding(CLERICAL, "no log"))
    findings += [
        Finding(CLERICAL, f"{rejection}; replace it with the file itself")
        for rejection in submission.folder.rejected[:4]
    ]
    if len(submission.folder.rejected) > 4:
        findings.append(Finding(CLERICAL, f"{len(submission.folder.rejected) - 4:,} more files can't be opened"))
    if submission.json_error and sizes.get(submission.json_name):
        findings.append(Finding(CLERICAL, submission.json_error))
    return CheckOutcome("files", tuple(findings), format_count(len(sizes), "file"))


def check_logs(review: Review) -> CheckOutcome:
    """Check that the logs can be read, and that each shows a run to its end (#1133, #2071)."""
    submission = review.submission
    findings = [Finding(CLERICAL, f"{reason}: no evidence") for reason in submission.unread_logs[:3]]
    if len(submission.unread_logs) > 3:
        findings.append(Finding(CLERICAL, f"{len(submission.unread_logs) - 3:,} more logs can't be read"))
    finished_seeds = {log.seed for log in submission.logs if log.finite_scores}
    is_in_no_log = review.headline.claim is not None and not review.rows
    for log in submission.logs:
        is_headline = review.headline.is_matched and log in review.headline.logs
        replaced = log.seed is not None and log.seed in finished_seeds
        if finding := _check_end(review, log, is_headline, replaced and not log.scores):
            findings.append(finding)
    if is_in_no_log and review.headline.kind == "absent":
        ends = [finding for finding in findings if finding.severity == CONTRADICTS]
        text = f"no log has {review.json}'s score"
        if ends:
            findings[findings.index(ends[0])] = Finding(CONTRADICTS, f"{ends[0].text}; {text}", ends[0].where)
        elif submission.logs or submission.unread_logs:
            findings.append(Finding(CONTRADICTS, text))
    n_files = len({log.name for log in submission.logs})
    nonfinite = [
        f"{log.label}: {log.first_nonfinite} is not a number" for log in submission.logs if log.first_nonfinite
    ]
    notes = (*submission.notes, *nonfinite)
    if not submission.logs:
        return CheckOutcome("logs", tuple(findings), "no log read", "no log in a known format", notes)
    return CheckOutcome("logs", tuple(findings), f"{n_files} understood, {len(submission.unread_logs)} not", "", notes)


def _check_end(review: Review, log: TrainingLog, is_headline: bool, is_replaced: bool) -> Finding | None:
    """A finding if a log does not end in a score; clerical if the submission does not rest on it."""
    rests_on_it = not is_headline and not is_replaced and _rests_on(review, log)
    severity = CONTRADICTS if rests_on_it else CLERICAL
    if log.crash:
        step = int(log.facts.get("step", 0))
        after = "the last score" if log.scores else f"step {step:,}" if step else ""
        place = f"after {after}" if after else "before step 1"
        where = f"{log.name}:{log.crash_line}"
        word = "traceback" if "Traceback" in log.crash else f"error ({log.crash[:40]})"
        return Finding(severity, f"{log.label}: ends in a {word} {place}".replace("a error", "an error"), where)
    if log.scores and not log.final_score:
        name, line = log.scores[-1].name, log.scores[-1].line
        return Finding(severity, f"{log.label}: its final score, {name}, is not a number", f"{log.name}:{line}")
    if not log.scores and not is_replaced and log not in review.headline.logs and review.headline.kind != "step":
        step = int(log.facts.get("step", 0))
        seed = "" if log.seed is None else f" of seed {format_seeds([log.seed])}"
        return Finding(severity, f"{log.label}: cut short at step {step:,}, no final score{seed}", log.locate("step"))
    return None


def _rests_on(review: Review, log: TrainingLog) -> bool:
    """Whether json claims this log's seed, or no other log has its headline."""
    claims = review.submission.claims
    return not review.headline.is_matched or (log.seed is not None and log.seed in claims.listed_seeds)
