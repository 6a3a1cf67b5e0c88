"""What a submission folder says for itself, gathered once: its files, the claims of its json, the facts of its logs."""

import re
from dataclasses import dataclass
from pathlib import Path

from golf.errors import ArtifactError, InputError
from golf.submission import claims, log_parser, safe_reader
from golf.submission.claims import SubmissionClaims
from golf.submission.log_parser import LoggedScore, TrainingLog
from golf.submission.reported_number import ReportedNumber
from golf.submission.safe_reader import SubmissionDir

_NON_LOG_PATTERN = re.compile(r"requirements|licen[cs]e|notes?|readme|cmake")
MAX_TOTAL_LOG_BYTES = 64 << 20  # bytes that are read of all logs together
MATCH_TOLERANCE = 1e-6  # by which json and log may differ where both give as many places
_NON_RECORD_TRACK = "non_record"  # in the path of a submission that is not for a record


@dataclass(frozen=True)
class Submission:
    """What the checks look at.

    claims: empty where submission.json is missing or damaged; damage: what is wrong with it, or "". logs: those that
    were understood; unread: the others, named with the reason; notes: what was read in part. record: False on a track
    without clocks.
    """

    folder: SubmissionDir
    claims: SubmissionClaims
    json_error: str
    logs: tuple[TrainingLog, ...]
    unread_logs: tuple[str, ...]
    notes: tuple[str, ...]
    is_record: bool

    def scored_logs(self) -> list[tuple[TrainingLog, LoggedScore]]:
        """Every log that ends in a score, with it."""
        return [(log, log.final_score) for log in self.logs if log.final_score]

    def final_scores(self) -> list[tuple[TrainingLog, LoggedScore]]:
        """One final score a seed, which both M-e and the statistics are of: of a seed's logs the one that the json
        claims, else the last. A log without a seed stands for itself.
        """
        final_by_seed: dict[int | str, tuple[TrainingLog, LoggedScore]] = {}
        for log, score in self.scored_logs():
            key = log.name if log.seed is None else log.seed
            claim = self.claims.per_seed.get(log.seed, SubmissionClaims()).bpb
            if not (claim and key in final_by_seed and final_by_seed[key][1].bpb.matches(claim, MATCH_TOLERANCE)):
                final_by_seed[key] = (log, score)
        return list(final_by_seed.values())

    def facts_by_log(self, name: str) -> dict[str, float]:
        """One fact by the names of the logs that state it."""
        return {log.name: log.facts[name] for log in self.logs if name in log.facts}


def load_submission(path) -> Submission:
    """Read a folder; raises BadInput as folder.read does, nothing else for what is in it."""
    submission_dir = safe_reader.scan_folder(path)
    parsed_claims, json_error = SubmissionClaims(), ""
    if "submission.json" in submission_dir.sizes:
        try:
            parsed_claims = claims.parse_claims(safe_reader.read_json(submission_dir, "submission.json"))
        except ArtifactError as error:
            json_error = str(error)
    recognized_logs, unread_logs, notes, remaining_bytes = [], [], [], MAX_TOTAL_LOG_BYTES
    for name in _list_log_files(submission_dir):
        remaining_bytes -= min(submission_dir.sizes[name], safe_reader.MAX_LOG_BYTES)
        if remaining_bytes < 0:
            unread_logs.append(f"{name}: not read, the logs before it hold {MAX_TOTAL_LOG_BYTES:,} bytes")
            continue
        try:
            log = log_parser.parse_log(name, safe_reader.read_text(submission_dir, name, safe_reader.MAX_LOG_BYTES))
        except ArtifactError as error:
            unread_logs.append(str(error))
            continue
        if submission_dir.sizes[name] > safe_reader.MAX_LOG_BYTES:
            notes.append(
                f"{name}: {submission_dir.sizes[name]:,} bytes, the first and last {safe_reader.MAX_LOG_BYTES // 2:,} were read"
            )
        if log.is_recognized:
            recognized_logs.append(log)
        else:
            unread_logs.append(f"{name}: unknown log format")
    is_record = parsed_claims.is_record and not any(
        _NON_RECORD_TRACK in part for part in submission_dir.root.parts[-2:]
    )
    return Submission(
        submission_dir, parsed_claims, json_error, tuple(recognized_logs), tuple(unread_logs), tuple(notes), is_record
    )


def _list_log_files(submission_dir: SubmissionDir) -> list[str]:
    """``.log``, and ``.txt`` that is not by its name something else."""
    return [
        name
        for name in submission_dir.files_with_suffix(".log", ".txt")
        if name.lower().endswith(".log") or not _NON_LOG_PATTERN.search(Path(name).name.lower())
    ]


def load_seed_scores(path) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
    """bpb and loss of each seed of a submission to compare with: its folder, or its submission.json alone.

    Of a folder the logs count, unless the json names more seeds. Raises BadInput where neither gives a score, and
    BadArtifact for a file that can't be read.
    """
    path = Path(path)
    if path.is_file():
        scores = SubmissionDir(path.resolve().parent, {path.name: path.stat().st_size})
        parsed_claims = claims.parse_claims(safe_reader.read_json(scores, path.name))
        logged_scores = []
    else:
        submission = load_submission(path)
        parsed_claims, logged_scores = (
            submission.claims,
            [(score.bpb, score.loss) for _, score in submission.final_scores()],
        )
    claimed_scores = [
        (claim.bpb, claim.loss) for claim in parsed_claims.per_seed.values() or [parsed_claims] if claim.bpb
    ]
    if not (scores := logged_scores if len(logged_scores) >= len(claimed_scores) else claimed_scores):
        raise InputError(f"{path}: no score to compare with; name a submission's folder or its submission.json")
    return scores
