"""Reviews of many submissions: folders that hold submissions are opened, each gets a line, and a total ends them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golf.compliance.report import replace_unprintable
from golf.errors import GolfError, InputError
from golf.submission import report, safe_reader
from golf.submission.contents import JSON_NAME
from golf.submission.executed_sources import SCRIPT_PATTERN
from golf.submission.findings import CHECKS, SEVERITIES
from golf.submission.record_margin import SeedScore
from golf.submission.report import LINE_WIDTH, SubmissionReview

__all__ = ["FolderResult", "render_overview", "review_folders"]

_MAX_DEPTH = 3  # of submissions below a given folder: records/track/name
_MAX_FOLDERS = 20_000
_NAME_WIDTH = 44


@dataclass(frozen=True)
class FolderResult:
    """A folder with its review, or with the message why it could not be read."""

    path: Path
    reviewed: SubmissionReview | None
    error: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the folder could not be read, breaks a rule or contradicts itself."""
        return self.reviewed is None or self.reviewed.has_failed


def _find_submissions(path: Path) -> list[Path]:
    """Return the folders of submissions at or below a path, sorted; the path itself if there are none below it.

    A folder is a submission if it holds a submission.json or a train_gpt.py, or a file of a similar name.
    Raises InputError as ``safe_reader.list_dir`` does.
    """
    if not path.is_dir() or _is_submission(path):
        return [path]
    submissions: list[Path] = []
    level, n_seen = [path], 0
    for _ in range(_MAX_DEPTH):
        below: list[Path] = []
        for folder in level:
            for child in _list_subfolders(folder):
                n_seen += 1
                if n_seen > _MAX_FOLDERS:
                    raise InputError(f"{path}: more than {_MAX_FOLDERS:,} folders; name those of the submissions")
                (submissions if _is_submission(child) else below).append(child)
        level = below
    return sorted(submissions) or [path]


def _list_subfolders(folder: Path) -> list[Path]:
    try:
        entries = safe_reader.list_dir(folder, _MAX_FOLDERS)
    except InputError:
        return []
    return [Path(one.path) for one in entries if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]


def _is_submission(folder: Path) -> bool:
    try:
        names = [entry.name for entry in safe_reader.list_dir(folder)]
    except InputError:
        return False
    return any(JSON_NAME.fullmatch(name) or SCRIPT_PATTERN.fullmatch(name) for name in names)


def review_folders(paths: Sequence[Path], baseline: Sequence[SeedScore] = ()) -> list[FolderResult]:
    """Review every submission at or below the paths. With several, one that can't be read becomes a result.

    Raises InputError for a single path that can't be read, as ``report.review_folder`` does.
    """
    folders = [folder for path in paths for folder in _find_submissions(path)]
    folders = list(dict.fromkeys(folders))
    if len(folders) == 1:
        return [FolderResult(folders[0], report.review_folder(folders[0], baseline))]
    results = []
    for folder in folders:
        try:
            results.append(FolderResult(folder, report.review_folder(folder, baseline)))
        except (GolfError, OSError) as error:
            message = str(error).removeprefix(f"{folder.resolve()}: ").removeprefix(f"{folder}: ")
            results.append(FolderResult(folder, None, message))
    return results


def render_overview(results: Sequence[FolderResult]) -> str:
    """Return one line for each folder, at most 100 columns, and a line with the totals."""
    return "\n".join([*(_render_line(result) for result in results), _render_total(results)])


def _render_line(result: FolderResult) -> str:
    name = replace_unprintable(result.path.name or str(result.path))
    name = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 4]}..."
    if result.reviewed is None:
        text = f"can't be read: {result.error}"
    else:
        found = result.reviewed.findings
        worst = result.reviewed.worst or "nothing found"
        checks = dict.fromkeys(CHECKS[check].name for check, one in found if one.severity == result.reviewed.worst)
        text = worst + (f": {', '.join(checks)}" if checks else "")
    line = f"{name:<{_NAME_WIDTH}}{replace_unprintable(text)}"
    return line if len(line) <= LINE_WIDTH else f"{line[: LINE_WIDTH - 3]}..."


def _render_total(results: Sequence[FolderResult]) -> str:
    worst = Counter(
        "can't be read" if one.reviewed is None else one.reviewed.worst or "nothing found" for one in results
    )
    order = [*SEVERITIES[:3], "nothing found", "can't be read"]
    parts = [f"{worst[word]} {word}" for word in order if worst[word]]
    return f"{len(results):,} submissions: {', '.join(parts)}"
