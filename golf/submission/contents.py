"""Load a submission folder: its files, the claims of its submission.json and the contents of its logs."""

import re
from dataclasses import dataclass
from pathlib import Path

from golf.errors import ArtifactError, InputError
from golf.submission import claims, log_parser, safe_reader
from golf.submission.claims import ReportedNumber, SubmissionClaims
from golf.submission.log_parser import FinalScore, TrainingLog
from golf.submission.safe_reader import SubmissionDir

__all__ = ["MATCH_TOLERANCE", "MAX_TOTAL_LOG_BYTES", "Submission", "load_seed_scores", "load_submission"]

_NON_LOG_PATTERN = re.compile(r"requirements|licen[cs]e|notes?|readme|cmake")
MAX_TOTAL_LOG_BYTES = 64 << 20  # read from all logs together
MATCH_TOLERANCE = 1e-6  # by which submission.json and a log may differ, however many digits they give
_NON_RECORD_TRACK = "non_record"  # part of the path of a submission that does not compete for the record


@dataclass(frozen=True)
class Submission:
    """The input of the checks.

    claims: empty if submission.json is missing or damaged. json_error: what is wrong with it, or "". logs: those in a
    known format. unread_logs: the names of the others, with the reason. notes: logs that were read in part. is_record:
    False on a track without time limits.
    """

    folder: SubmissionDir
    claims: SubmissionClaims
    json_error: str
    logs: tuple[TrainingLog, ...]
    unread_logs: tuple[str, ...]
    notes: tuple[str, ...]
    is_record: bool

    def scored_logs(self) -> list[tuple[TrainingLog, FinalScore]]:
        """Return each log that ends in a score, with that score."""
        return [(log, score) for log in self.logs if (score := log.final_score)]

    def final_scores(self) -> list[tuple[TrainingLog, FinalScore]]:
        """Return one final score for each seed, for M-e and the record margin.

        Of several logs of a seed, this is the one whose score submission.json claims, else the last. A log without a
        seed stands on its own.
        """
        score_by_seed: dict[int | str, tuple[TrainingLog, FinalScore]] = {}
        for log, score in self.scored_logs():
            key = log.name if log.seed is None else log.seed
            claim = self.claimed_bpb(log.seed)
            if not (claim and key in score_by_seed and score_by_seed[key][1].bpb.matches(claim, MATCH_TOLERANCE)):
                score_by_seed[key] = (log, score)
        return list(score_by_seed.values())

    def claimed_bpb(self, seed: int | None) -> ReportedNumber | None:
        """Return the score that submission.json claims for a seed."""
        if seed is None or seed not in self.claims.per_seed:
            return None
        return self.claims.per_seed[seed].bpb

    def claimed_scores(self) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
        """Return the claimed (bpb, loss) of each seed, or of the headline if submission.json names no seeds."""
        return _list_claimed_scores(self.claims)

    def facts_by_log(self, name: str) -> dict[str, float]:
        """Return one fact by the names of the logs that state it."""
        return {log.name: log.facts[name] for log in self.logs if name in log.facts}


def load_submission(path: Path) -> Submission:
    """Read a folder. Raises InputError as ``safe_reader.scan_folder`` does, but nothing for the contents of files."""
    submission_dir = safe_reader.scan_folder(path)
    parsed_claims, json_error = SubmissionClaims(), ""
    if "submission.json" in submission_dir.sizes:
        try:
            parsed_claims = claims.parse_claims(safe_reader.read_json(submission_dir, "submission.json"))
        except ArtifactError as error:
            json_error = str(error)
    logs: list[TrainingLog] = []
    unread_logs: list[str] = []
    notes: list[str] = []
    remaining_bytes = MAX_TOTAL_LOG_BYTES
    for name in _list_log_files(submission_dir):
        n_bytes, max_bytes = submission_dir.sizes[name], safe_reader.MAX_LOG_BYTES
        remaining_bytes -= min(n_bytes, max_bytes)
        if remaining_bytes < 0:
            unread_logs.append(f"{name}: not read, the logs before it hold {MAX_TOTAL_LOG_BYTES:,} bytes")
            continue
        try:
            log = log_parser.parse_log(name, safe_reader.read_text(submission_dir, name, max_bytes))
        except ArtifactError as error:
            unread_logs.append(str(error))
            continue
        if n_bytes > max_bytes:
            notes.append(f"{name}: {n_bytes:,} bytes, only the first and last {max_bytes // 2:,} were read")
        if log.is_recognized:
            logs.append(log)
        else:
            unread_logs.append(f"{name}: unknown log format")
    is_record = parsed_claims.is_record and not any(
        _NON_RECORD_TRACK in part for part in submission_dir.root.parts[-2:]
    )
    return Submission(
        submission_dir, parsed_claims, json_error, tuple(logs), tuple(unread_logs), tuple(notes), is_record
    )


def _list_log_files(submission_dir: SubmissionDir) -> list[str]:
    """``.log`` files, and ``.txt`` files unless their names say that they are something else."""
    return [
        name
        for name in submission_dir.files_with_suffix(".log", ".txt")
        if name.lower().endswith(".log") or not _NON_LOG_PATTERN.search(Path(name).name.lower())
    ]


def load_seed_scores(path: Path) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
    """Return (bpb, loss) for each seed of a submission to compare with: a folder, or a submission.json alone.

    Of a folder the logs count, unless submission.json names more seeds. Raises InputError if neither gives a score,
    and ArtifactError for a file that can't be read.
    """
    logged_scores: list[tuple[ReportedNumber, ReportedNumber | None]] = []
    if path.is_file():
        submission_dir = SubmissionDir(path.resolve().parent, {path.name: path.stat().st_size})
        claimed_scores = _list_claimed_scores(claims.parse_claims(safe_reader.read_json(submission_dir, path.name)))
    else:
        submission = load_submission(path)
        claimed_scores = submission.claimed_scores()
        logged_scores = [(score.bpb, score.loss) for _, score in submission.final_scores()]
    scores = logged_scores if len(logged_scores) >= len(claimed_scores) else claimed_scores
    if not scores:
        raise InputError(f"{path}: has no score to compare with; expected a submission folder or its submission.json")
    return scores


def _list_claimed_scores(parsed: SubmissionClaims) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
    """Of each seed, else of the headline; a claim of 0, which no model reaches, is none."""
    claims_with_scores = [*parsed.per_seed.values()] or [parsed]
    return [(claim.bpb, claim.loss) for claim in claims_with_scores if claim.bpb and claim.bpb.value]
