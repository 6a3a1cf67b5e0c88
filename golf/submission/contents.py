"""Load a submission folder: its files, its submission.json, the runs in its logs and its README's tables."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from golf.errors import ArtifactError
from golf.submission import claims, executed_sources, readme_tables, safe_reader
from golf.submission.claims import ReportedNumber, SubmissionClaims
from golf.submission.executed_sources import ExecutedSources
from golf.submission.logs import decoding, log_parser
from golf.submission.logs.training_log import TrainingLog
from golf.submission.readme_tables import ReadmeClaims
from golf.submission.safe_reader import SubmissionDir

__all__ = [
    "JSON_NAME",
    "MATCH_TOLERANCE",
    "MAX_TOTAL_LOG_BYTES",
    "Submission",
    "list_claimed_scores",
    "load_submission",
]

_NON_LOG_PATTERN = re.compile(r"requirements|licen[cs]e|notes?|readme|cmake|vocab|prompt|citation")
_LOG_SUFFIXES = (".log", ".txt", ".out")
JSON_NAME = re.compile(r"(?i)submission[\w.-]{0,80}\.json")
_README_NAME = re.compile(r"(?i)readme(?:\.md|\.txt|\.rst)?")
MAX_TOTAL_LOG_BYTES = 64 << 20  # read from all logs together
MATCH_TOLERANCE = 1e-6  # by which submission.json and a log may differ, however many digits they give
_MAX_NOTES = 6
_NON_RECORD_TRACK = "non_record"  # part of the path of a submission that does not compete for the record


@dataclass(frozen=True)
class Submission:
    """The input of the checks.

    json_name, readme_name: the files that were read as submission.json and README.md, "" for none. claims: empty if
    the json is missing or damaged. json_error: what is wrong with it, or "". logs: the runs in known formats, of a
    file that holds several all, without copies. unread_logs: the names of the others, with the reason. notes: what
    was read in part or left out as a copy. sources: what the script executes. is_record: False on a track without
    time limits.
    """

    folder: SubmissionDir
    json_name: str
    claims: SubmissionClaims
    json_error: str
    readme_name: str
    readme: ReadmeClaims
    logs: tuple[TrainingLog, ...]
    unread_logs: tuple[str, ...]
    notes: tuple[str, ...]
    sources: ExecutedSources
    is_record: bool

    def claimed_scores(self) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
        """Return the claimed (bpb, loss) of each seed, or of the headline if submission.json names no seeds."""
        return list_claimed_scores(self.claims)


def load_submission(path: Path) -> Submission:
    """Read a folder. Raises InputError as ``safe_reader.scan_folder`` does, but nothing for the contents of files."""
    submission_dir = safe_reader.scan_folder(path)
    json_name = _find_named(submission_dir, "submission.json", JSON_NAME)
    parsed_claims, json_error = SubmissionClaims(), ""
    if json_name:
        try:
            parsed_claims = claims.parse_claims(safe_reader.read_json(submission_dir, json_name))
        except ArtifactError as error:
            json_error = str(error)
    readme_name = _find_named(submission_dir, "README.md", _README_NAME)
    readme = ReadmeClaims()
    notes: list[str] = []
    if readme_name:
        try:
            text = safe_reader.read_log(submission_dir, readme_name, safe_reader.MAX_JSON_BYTES).text
            readme = readme_tables.parse_readme(decoding.normalize_lines(text))
        except ArtifactError as error:
            notes.append(str(error))
    logs, unread_logs = _load_logs(submission_dir, notes)
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES:] = [f"{len(notes) - _MAX_NOTES:,} more files were read in part or are copies"]
    is_record = parsed_claims.is_record and not any(
        _NON_RECORD_TRACK in part for part in submission_dir.root.parts[-2:]
    )
    return Submission(
        submission_dir,
        json_name,
        parsed_claims,
        json_error,
        readme_name,
        readme,
        tuple(logs),
        tuple(unread_logs),
        tuple(notes),
        executed_sources.find_executed_sources(submission_dir),
        is_record,
    )


def _find_named(submission_dir: SubmissionDir, name: str, pattern: re.Pattern[str]) -> str:
    """The file of this name, else the first of a similar name nearest to the root, else ""."""
    if name in submission_dir.sizes:
        return name
    similar = [file for file in submission_dir.sizes if pattern.fullmatch(PurePosixPath(file).name)]
    return min(similar, key=lambda file: (file.count("/"), file), default="")


def _load_logs(submission_dir: SubmissionDir, notes: list[str]) -> tuple[list[TrainingLog], list[str]]:
    logs: list[TrainingLog] = []
    unread_logs: list[str] = []
    file_by_digest: dict[bytes, str] = {}
    remaining_bytes = MAX_TOTAL_LOG_BYTES
    for name in _list_log_files(submission_dir):
        n_bytes, max_bytes = submission_dir.sizes[name], safe_reader.MAX_LOG_BYTES
        remaining_bytes -= min(n_bytes, max_bytes)
        if remaining_bytes < 0:
            unread_logs.append(f"{name}: not read, the logs before it hold {MAX_TOTAL_LOG_BYTES:,} bytes")
            continue
        try:
            decoded = safe_reader.read_log(submission_dir, name, max_bytes)
        except ArtifactError as error:
            unread_logs.append(str(error))
            continue
        text = decoding.normalize_lines(decoded.text).rstrip()
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if text and (original := file_by_digest.setdefault(digest, name)) != name:
            notes.append(f"{name}: a copy of {original}, counted once")
            continue
        if n_bytes > max_bytes:
            notes.append(f"{name}: {n_bytes:,} bytes, only the first and last {max_bytes // 2:,} were read")
        if decoded.n_replaced:
            notes.append(f"{name}: {decoded.n_replaced:,} bytes that are not {decoded.encoding.upper()} were replaced")
        runs = log_parser.parse_lines(name, text)
        if not runs[-1].is_recognized:
            unread_logs.append(f"{name}: {'empty' if not n_bytes else 'unknown log format'}")
        elif original := _find_same_run(runs, logs):
            notes.append(f"{name}: the same run as {original}, counted once")
        else:
            logs += runs
    return logs, unread_logs


def _find_same_run(runs: list[TrainingLog], known: list[TrainingLog]) -> str:
    """The file that holds the same run: equal seed, steps, times and scores to eight digits; "" without one."""
    if len(runs) != 1 or not runs[0].scores or "train_seconds" not in runs[0].facts:
        return ""
    run = runs[0]
    for other in known:
        scores = [(score.name, score.bpb, score.seconds) for score in other.scores]
        if (
            other.stated_seed == run.stated_seed
            and other.facts.get("step") == run.facts.get("step")
            and other.facts.get("train_seconds") == run.facts["train_seconds"]
            and scores == [(score.name, score.bpb, score.seconds) for score in run.scores]
        ):
            return other.name
    return ""


def _list_log_files(submission_dir: SubmissionDir) -> list[str]:
    """``.log`` and ``.out`` files, and ``.txt`` files unless their names say that they are something else.

    Names with a seed come first, so that of a file and its copy the one with the seed is kept.
    """
    names = [
        name
        for name in submission_dir.list_files_with_suffix(*_LOG_SUFFIXES)
        if not name.lower().endswith(".txt") or not _NON_LOG_PATTERN.search(Path(name).name.lower())
    ]
    return sorted(names, key=lambda name: ("seed" not in name.lower(), name))


def list_claimed_scores(parsed: SubmissionClaims) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
    """Return (bpb, loss) of each seed, else of the headline; a claim of 0, which no model reaches, is none."""
    claims_with_scores = [*parsed.per_seed.values()] or [parsed]
    return [(claim.bpb, claim.loss) for claim in claims_with_scores if claim.bpb and claim.bpb.value]
