"""Define what a review of a submission says: findings of three severities, open questions, what was not checked.

docs/submission-review.md explains each check: what is read, and which threads of the contest it rests on.
"""

from dataclasses import dataclass
from typing import Literal

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, Status

__all__ = [
    "BREAKS_RULE",
    "CHECKS",
    "CLERICAL",
    "CONTRADICTS",
    "NO_RULING",
    "SEVERITIES",
    "CheckKind",
    "CheckOutcome",
    "Finding",
    "Severity",
    "list_names",
]

Severity = Literal["breaks a rule", "contradicts itself", "clerical", "not ruled on"]
BREAKS_RULE: Severity = "breaks a rule"  # bytes or seconds over, scored on other bytes, val in train
CONTRADICTS: Severity = "contradicts itself"  # json, README, logs and sources tell different stories
CLERICAL: Severity = "clerical"  # a missing file, a mean given for a size, a spread's third digit
NO_RULING: Severity = "not ruled on"  # an open question of the contest, which is no finding against the submission
SEVERITIES: tuple[Severity, ...] = (BREAKS_RULE, CONTRADICTS, CLERICAL, NO_RULING)


@dataclass(frozen=True, slots=True)
class CheckKind:
    """A check in words. rule: what the contest asks. remedy: what the author could do about a finding."""

    name: str
    rule: str
    remedy: str


CHECKS: dict[str, CheckKind] = {
    "files": CheckKind(
        "files",
        "a folder holds README.md, submission.json, train_gpt.py and its logs as plain files",
        "add or rename the files",
    ),
    "logs": CheckKind(
        "logs", "the logs show the run that is claimed, to its end", "add the complete log of the run, as text"
    ),
    "one run": CheckKind(
        "one run", "the seeds share code, settings, data and hardware", "run all seeds from the script that is shipped"
    ),
    "source": CheckKind(
        "source",
        "the shipped script is the one that made the logs",
        "ship the script that the logs print, or run again",
    ),
    "C4-c": CheckKind(
        "runs of a seed", "one evaluation of each artifact counts and all are shown", "say which run counts and why"
    ),
    "C4-d": CheckKind("seeds", "every seed is named beforehand and has one log", "give each log its seed"),
    "C1-e": CheckKind(
        "val in train", "nothing is trained on val before its score is fixed", "train on the train shards alone"
    ),
    "M-a": CheckKind(
        "bytes of val", "bits per byte divide by the bytes of val's text", "correct the byte counts and score again"
    ),
    "M-d": CheckKind("coverage", "all of val is scored", "score all documents of val"),
    "M-e": CheckKind(
        "scores", "submission.json gives the logs' scores, the mean over the seeds as headline", "copy the logs' scores"
    ),
    "README": CheckKind("README", "README.md tells the run that is submitted", "copy the figures from the logs"),
    "B-a": CheckKind(
        "size limit", "model and all executed code have at most 16,000,000 bytes", "make the model or the code smaller"
    ),
    "sizes agree": CheckKind(
        "sizes", "json, logs and files give the same bytes", "state the bytes of what is shipped, for each seed"
    ),
    "B-c": CheckKind(
        "training time", "training and calibration take at most 600 s", "stop earlier, calibration included"
    ),
    "B-d": CheckKind("evaluation time", "evaluation takes at most 600 s", "make the evaluation shorter"),
    "B-e": CheckKind("hardware", "a record runs on 8 x H100 SXM", "run it there, or submit it as non-record"),
    "run figures": CheckKind(
        "run figures", "steps, seconds and parameters in json are the logs'", "copy the logs' figures"
    ),
    "record margin": CheckKind(
        "record margin", "a record gains 0.005 nats at p < 0.01", "add seeds, or submit it as non-record"
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. where: ``file:line`` of the evidence, "" if it is the folder as a whole."""

    severity: Severity
    text: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The result of one check.

    measured: the figures, for people. not_checked: why the check could not run, "" if it did. notes: how something was
    read that could be read otherwise.
    """

    check: str
    findings: tuple[Finding, ...] = ()
    measured: str = ""
    not_checked: str = ""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """FAIL for a broken rule or a contradiction, UNRULED, NOT-RUN, or PASS, also with clerical findings."""
        severities = {finding.severity for finding in self.findings}
        if severities & {BREAKS_RULE, CONTRADICTS}:
            return FAIL
        if NO_RULING in severities:
            return UNRULED
        return NOT_RUN if self.not_checked else PASS


def list_names(names: list[str], limit: int = 3) -> str:
    """Return ``a, b and c``; of more than ``limit`` the first and how many more."""
    unique = list(dict.fromkeys(names))
    if len(unique) > limit:
        return f"{', '.join(unique[: limit - 1])} and {len(unique) - limit + 1:,} more"
    return " and ".join([", ".join(unique[:-1]), unique[-1]] if len(unique) > 1 else unique)
